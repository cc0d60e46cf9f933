"""The attacks of `abuse.py`, in a process of their own: `python abuse_attacks.py PORT NAME...`.

Prints `ready` when they are under way, and what became of them, as JSON, when its standard input closes.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import json
import resource
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

Tally = collections.Counter[str]
Attack = Callable[[int, threading.Event, Tally], None]

HOST = "Host: 127.0.0.1\r\n"
GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR
#: Each can be read in two ways, or belongs to nobody.
SMUGGLED = [
    f"POST /conf HTTP/1.1\r\n{HOST}{text}".encode("latin-1")
    for text in (
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX",
        "Content-Length: 0\r\nContent-Length: 44\r\n\r\nGET /env HTTP/1.1\r\nHost: x\r\n\r\n",
        "Content-Length: 4, 4\r\n\r\nabcd",
        "Content-Length: +4\r\n\r\nabcd",
        "Content-Length: 0x4\r\n\r\nabcd",
        "Content-Length: -1\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: identity, chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "X: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5;x=\n\r\nabcde\r\n0\r\n\r\n",
        "Host: other.example\r\n\r\n",
        "X: a\x00b\r\n\r\n",
        "X: a\rb\r\n\r\n",
        "Content-Length: 4\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    )
] + [
    b"GET /version HTTP/1.1\r\n\r\n",
    b"GET http://other.example/version HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"POST /conf HTTP/1.0\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET /version HTTP/1.1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
]


def request(line: str, body: bytes = b"", length: int | None = None) -> bytes:
    """A request, whose body may claim to be longer than it is."""
    head = f"{line} HTTP/1.1\r\n{HOST}Content-Type: application/json\r\nContent-Length: {length or len(body)}\r\n\r\n"
    return head.encode("latin-1") + body


DEEP = [
    request("POST /conf", b"[" * 100_000 + b"]" * 100_000),
    request("POST /conf", b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    request("POST /conf", b'{"min_retrieve_tokens": ' + b"9" * 100_000 + b"}"),
]
RANGES = [
    request("POST /cache/store?tokens_mock=0,20000000"),
    request("POST /cache/retrieve?tokens_mock=0,20000000"),
    request("GET /cache/kvcache/check?slot_mapping=[0,20000000]&chunk_size=1"),
]
CHANGES = [request(line) for line in ("DELETE /cache/clear", "PUT /freeze/enable", "PUT /hot_cache/enable")]


def connect(port: int, receive_buffer: int = 0) -> socket.socket:
    """A new connection."""
    connection = socket.socket()
    try:
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(2.0)
        connection.connect(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        connection.close()
        raise
    return connection


def crowd(
    port: int,
    stop: threading.Event,
    tally: Tally,
    *,
    count: int,
    opening: bytes = b"",
    drip: bytes = b"",
    buffer: int = 0,
) -> None:
    """Hold `count` connections that never read and replace lost ones; each says `opening`, then `drip` every second."""
    held: dict[int, socket.socket] = {}
    poll = select.poll()
    while not stop.is_set():
        began = time.monotonic()
        while len(held) < count and not stop.is_set() and time.monotonic() < began + 1:
            try:
                connection = connect(port, buffer)
            except OSError as error:
                tally[f"not connected: {type(error).__name__}"] += 1
                break
            held[connection.fileno()] = connection
            poll.register(connection, GONE)
            tally["connected"] += 1
            say(connection, opening)
        tally["most held"] = max(tally["most held"], len(held))
        for number, _ in poll.poll(0):
            poll.unregister(number)
            held.pop(number).close()
            tally["closed by the server"] += 1
        for connection in held.values():
            say(connection, drip)
        stop.wait(max(0.0, began + 1 - time.monotonic()))


def say(connection: socket.socket, data: bytes) -> None:
    """Send without waiting."""
    with contextlib.suppress(OSError):
        if data:
            connection.send(data, socket.MSG_DONTWAIT)


def repeat(
    port: int, stop: threading.Event, tally: Tally, *, requests: Sequence[bytes], rate: float, threads: int
) -> None:
    """Send the requests in turn, each on a new connection, `rate` a second at most in all."""
    turn, lock = itertools.cycle(requests), threading.Lock()

    def one() -> None:
        due = time.monotonic()
        while not stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + threads / rate, time.monotonic() - 1)
            with lock:
                data = next(turn)
            tally[ask(port, data)] += 1

    run(one, threads)


def ask(port: int, data: bytes) -> str:
    """Send a request on a new connection; what its status is."""
    with contextlib.suppress(OSError), connect(port) as connection:
        connection.settimeout(30)
        with contextlib.suppress(ConnectionError):  # it may have answered before it has read all
            connection.sendall(data)
        return connection.recv(4096)[9:12].decode("latin-1") or "closed"
    return "no answer"


def pipeline(port: int, stop: threading.Event, tally: Tally) -> None:
    """Sixteen connections that each send 200 requests at once, read the answers, and begin again."""
    data = b"GET /freeze/status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

    def one() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError), connect(port) as connection:
                while not stop.is_set():
                    connection.sendall(data * 200)
                    answered = 0
                    while answered < 200:
                        part = connection.recv(65536)
                        if not part:
                            raise ConnectionError
                        answered += part.count(b"HTTP/1.1 ")
                    tally["answers"] += answered

    run(one, 16)


def run(one: Callable[[], None], threads: int) -> None:
    """Run it in so many threads, and wait for them."""
    started = [threading.Thread(target=one, daemon=True) for _ in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join(35)


SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
HEADER = b"GET /version HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "
ATTACKS: dict[str, Attack] = {
    "slow headers": partial(crowd, count=200, opening=HEADER, drip=b"a"),
    "slow bodies": partial(crowd, count=64, opening=request("POST /conf", b"{", 4000), drip=b" "),
    "slow readers": partial(crowd, count=64, opening=SCRAPE * 20, buffer=4096),
    "idle": partial(crowd, count=2000),
    "smuggling": partial(repeat, requests=SMUGGLED, rate=200, threads=8),
    "deep JSON": partial(repeat, requests=DEEP, rate=50, threads=4),
    "huge ranges": partial(repeat, requests=RANGES, rate=50, threads=4),
    "descriptors": partial(crowd, count=400),
    "pipelining": pipeline,
    "hanging changes": partial(repeat, requests=CHANGES, rate=640, threads=64),
}


def main() -> None:
    """Attack until standard input closes."""
    port, names = int(sys.argv[1]), sys.argv[2:]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    stop, tallies = threading.Event(), {name: Tally() for name in names}
    for name in names:
        threading.Thread(target=ATTACKS[name], args=(port, stop, tallies[name]), daemon=True).start()
    time.sleep(1.0)
    print("ready", flush=True)
    sys.stdin.read()
    stop.set()
    print(json.dumps(tallies), flush=True)


if __name__ == "__main__":
    main()
