"""Row `checksum`: digests of all slots of 1 GiB of KV cache in torch tensors, ours and LMCache's own.

Both servers need torch, so `--python` names an interpreter that has it (LMCache's own will do). The two run side by
side and are asked in turn; what MD5 alone makes of as many bytes, on one core and on all, is measured in each round.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import json
import os
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import Server, arguments, cpu_seconds, finish, kinds, serving, table
from tensors import slots_of

MIB = 1024 * 1024
CHUNK = 256  # slots: half a MiB of keys and half a MiB of values in each layer
DTYPES = {"float16": 1, "bfloat16": 2}  # bytes hashed for each of the cache: bfloat16 as float32
CORES = len(os.sched_getaffinity(0))
FIGURES = {
    "one": "MD5 alone, one core",
    "all": "all cores",
    "rate": "MiB/s of cache",
    "share": "of MD5 alone",
    "cpu_share": "of its CPU",
}
EVERY = 0.01  # seconds between two requests for /healthz
TIMEOUT = 300.0


def md5_alone(mebibytes: int, cores: int) -> tuple[float, float]:
    """Hash so much memory in as many threads; MiB a second, and CPU seconds for each MiB."""

    def hashing() -> None:
        data = os.urandom(MIB)
        for _ in range(mebibytes // cores):
            hashlib.md5(data, usedforsecurity=False).digest()

    began, used = time.monotonic(), time.process_time()
    threads = [threading.Thread(target=hashing) for _ in range(cores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return mebibytes / (time.monotonic() - began), (time.process_time() - used) / mebibytes


def ask(port: int, path: str) -> tuple[int, Any]:
    """Send one request and read its JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    with contextlib.closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def checked(server: Server, options: argparse.Namespace, layerwise: bool) -> dict[str, Any]:
    """One check of everything: seconds, memory above what the process had, digests."""
    last = slots_of(options.size) - 1
    path = f"/cache/kvcache/check?slot_mapping=[0,{last}]&chunk_size={CHUNK}&layerwise={layerwise}"
    before = memory(server.pid, "VmRSS")
    Path(f"/proc/{server.pid}/clear_refs").write_text("5", "ascii")  # the peak starts anew
    began, used = time.monotonic(), cpu_seconds(server.pid)
    status, body = ask(server.port, path)
    seconds, used = time.monotonic() - began, cpu_seconds(server.pid) - used
    if status != 200:
        raise SystemExit(f"{server.kind} answered {status}: {body}")
    peak = memory(server.pid, "VmHWM") - before
    return {"seconds": seconds, "cpu": used, "memory": peak, "digests": body["chunk_checksums"]}


def memory(pid: int, name: str) -> float:
    """A figure of a process's memory, MiB."""
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name + ":"))


@contextlib.contextmanager
def probing(server: Server) -> Iterator[list[float]]:
    """Ask for /healthz all the while; yields the times in ms. The peer has none: its 404 needs the same loop."""
    times: list[float] = []
    over = threading.Event()

    def probe() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)
        while not over.wait(EVERY):
            began = time.monotonic()
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            times.append((time.monotonic() - began) * 1000)
        connection.close()

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield times
    finally:
        over.set()
        thread.join()


def one_round(servers: list[Server], options: argparse.Namespace, dtype: str) -> list[dict[str, Any]]:
    """Each server and each limit once, in turn."""
    found: list[dict[str, Any]] = []
    hashed = options.size * DTYPES[dtype]
    for layerwise in (True, False):
        digests = []
        one, _ = md5_alone(options.size // 2, 1)
        for server in servers:
            limit, limit_cpu = md5_alone(options.size, CORES)
            run = checked(server, options, layerwise)
            digests.append(run.pop("digests"))
            with probing(server) as times:
                checked(server, options, layerwise)
            found.append({
                "dtype": dtype, "layerwise": layerwise, "server": server.kind, "healthz": sorted(times),
                "one": one, "all": limit, "memory": run["memory"], "rate": options.size / run["seconds"],
                "share": hashed / run["seconds"] / limit, "cpu_share": hashed * limit_cpu / run["cpu"],
            })  # fmt: skip
        if any(digest != digests[0] for digest in digests):
            raise SystemExit("the servers' digests differ")
    return found


def row(runs: list[dict[str, Any]], peer: list[dict[str, Any]]) -> list[object]:
    """The medians of one server's runs of a case, and against the peer's in the same rounds."""
    first, times = runs[0], sorted(value for run in runs for value in run["healthz"])
    middle = [statistics.median(run[name] for run in runs) for name in FIGURES]
    against = None
    if peer and first["server"] == "ours":
        against = statistics.median(own["rate"] / other["rate"] for own, other in zip(runs, peer, strict=True))
    layerwise = "yes" if first["layerwise"] else "no"
    peak = max(run["memory"] for run in runs)
    return [first["dtype"], layerwise, first["server"], *middle, peak, times[int(len(times) * 0.99)], against]


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, rounds=5, size=1024)
    results: list[dict[str, Any]] = []
    for dtype in DTYPES:
        with contextlib.ExitStack() as running:
            tensors = f"{dtype},{options.size}"
            names = kinds(options, "ours", "peer")
            servers = [running.enter_context(serving(kind, options, kv=tensors)) for kind in names]
            for _ in range(options.rounds):
                results += one_round(servers, options, dtype)
    cases: dict[tuple[str, bool, str], list[dict[str, Any]]] = {}
    for run in results:
        cases.setdefault((run["dtype"], run["layerwise"], run["server"]), []).append(run)
    head = ["type", "layerwise", "server", *FIGURES.values(), "extra MiB", "/healthz p99 ms", "ours, times its MiB/s"]
    rows = [row(runs, cases.get((*case[:2], "peer"), [])) for case, runs in cases.items()]
    finish(options, "checksum", [{**run, "healthz": len(run["healthz"])} for run in results], table(head, rows))


if __name__ == "__main__":
    main()
