"""How long does a refusal take? Requests that nobody means, beside /healthz in the same run.

Each request has a connection of its own, and its time is from connecting to the end of the answer; a body is sent as
far as the server takes it. In each round all of them come once, in turn with /healthz. A change over TCP is refused no
sooner than its sender is known, so one that is served stands beside them. There is no peer here: some of these take
LMCache's own server, or the machine's memory, away.
"""

from __future__ import annotations

import collections
import socket
import statistics
import struct
import time
from contextlib import suppress
from typing import Any

from bench import arguments, finish, serving, table

MIB = 1024 * 1024
#: Closed by a reset: thousands of closed connections in the kernel's table would make each look into it slower.
RESET = struct.pack("ii", 1, 0)
HEALTH = "GET /healthz"
CHANGE = "PUT /freeze/enable"
HEAD = "{} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


def bare(line: str) -> bytes:
    """A request without a body."""
    return (HEAD.format(line) + "\r\n").encode("latin-1")


def with_body(line: str, body: bytes, length: int | None = None) -> bytes:
    """A request with a body, which may claim to be longer."""
    return HEAD.format(line).encode("latin-1") + b"Content-Length: %d\r\n\r\n" % (length or len(body)) + body


def in_chunks(line: str, body: bytes) -> bytes:
    """A request with a body that does not say how long it is."""
    head = HEAD.format(line).encode("latin-1") + b"Transfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


CASES = {
    HEALTH: bare(HEALTH),
    CHANGE: bare(CHANGE),
    "2^31 + 1 tokens": bare("POST /cache/store?tokens_mock=0,2147483649"),
    "a number of 50,000 digits": bare(f"POST /cache/store?tokens_mock=0,{'9' * 50_000}"),
    "10^12 slots": bare("GET /cache/kvcache/check?slot_mapping=[0,999999999999]&chunk_size=4"),
    "60 KB of brackets as slots": bare(f"GET /cache/kvcache/check?slot_mapping={'[' * 60_000}"),
    "a switch that is none": bare("POST /lookup/create?dryrun=maybe"),
    "10,000 parameters": bare("DELETE /cache/clear?" + "&".join(["a=1"] * 10_000)),
    "a query of 70 KB": bare(f"GET /cache/kvcache/check?slot_mapping={'1,' * 35_000}"),
    "a path of 70 KB": bare(f"GET /{'x' * 70_000}"),
    "a path that nobody serves": bare("GET /nowhere"),
    "a name with / and ..": bare("DELETE /backends/..%2F..%2Fetc%2Fpasswd"),
    "a name with NUL": bare("PUT /bypass/add?backend_name=LocalCPUBackend%00"),
    "a file elsewhere": with_body("POST /cache/load-fs-chunks", b'{"config_path": "../../etc/passwd"}'),
    "no JSON": with_body("POST /conf", b"nonsense"),
    "JSON of 10,000 levels": with_body("POST /conf", b"[" * 10_000 + b"]" * 10_000),
    "1 MiB of brackets": with_body("POST /conf", b"[" * MIB),
    "1 MiB of no JSON": with_body("DELETE /cache/clear", b"a" * MIB),
    "a body that says 10 MB": with_body("GET /cache/kvcache/check", b"1," * 32_768, 10 * MIB),
    "a body of 1.1 MB in chunks": in_chunks("POST /conf", b"1," * 550_000),
}


def ask(port: int, request: bytes) -> tuple[str, float]:
    """Send a request on a connection of its own.

    Returns:
        Status, milliseconds.
    """
    begun = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        with suppress(ConnectionError):  # it has answered and reads no further
            connection.sendall(request)
        data = b""
        while not complete(data):
            part = connection.recv(65536)
            if not part:
                raise ConnectionError("the server closed the connection without an answer")
            data += part
    return data[9:12].decode(), (time.perf_counter() - begun) * 1000


def complete(data: bytes) -> bool:
    """Whether an answer is there as a whole."""
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        return False
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return len(body) >= int(length.split(b":")[1])


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, rounds=300)
    times: dict[str, list[float]] = collections.defaultdict(list)
    statuses: dict[str, set[str]] = collections.defaultdict(set)
    with serving("ours", options) as server:
        for number in range(options.rounds + 5):
            for name, request in CASES.items():
                for what in (HEALTH, name) if name != HEALTH else (name,):
                    status, milliseconds = ask(server.port, CASES[what] if what == HEALTH else request)
                    statuses[what].add(status)
                    if number >= 5:  # the first ones load what is loaded once
                        times[what].append(milliseconds)
    results = [figures(name, times[name], statuses[name]) for name in CASES]
    rows = [[*row.values(), *compared(row, results[0]), *compared(row, results[1])] for row in results]
    head = ["request", "status", "p50 ms", "p99 ms"]
    head += [f"{figure}, times {to}" for to in ("/healthz", "a change") for figure in ("p50", "p99")]
    finish(options, "bad_input", results, table(head, rows))


def figures(name: str, times: list[float], statuses: set[str]) -> dict[str, Any]:
    """One row."""
    cuts = statistics.quantiles(times, n=100)
    return {"what": name, "status": " ".join(sorted(statuses)), "p50": statistics.median(times), "p99": cuts[98]}


def compared(row: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Both figures of a row as multiples of another's."""
    return [f"{row[figure] / other[figure]:.2f}" for figure in ("p50", "p99")]


if __name__ == "__main__":
    main()
