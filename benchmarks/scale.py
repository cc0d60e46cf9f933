"""A real LMCache engine with 100,000 chunks in memory: ours beside LMCache's own server.

How long `clear` takes and how long other requests wait meanwhile; and what reads cost that look at the backends, the
settings and the figures of an engine of that size.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from bench import Load, Server, arguments, finish, kinds, median_of, table, wrk
from standalone import ask, engine

CHUNK = 16  # tokens
STORED = 4096  # chunks of one store
PATHS = ("/backends", "/conf", "/metrics")
MEANWHILE = ("/version", "/freeze/status", "/metrics")
PERIOD = 0.02  # seconds between two requests of a path
#: One layer of one head: a chunk is 512 bytes, and LMCache gives each 4 KiB.
SHAPE = ("--kv-shape", f"1,2,{CHUNK},1,8", "--kvcache-shape-spec", f"(2,4,{CHUNK},1,8):float16:1")


@dataclass
class Clear:
    """One clear: seconds, tokens removed, and milliseconds that requests to each path took meanwhile."""

    seconds: float
    removed: int
    waits: dict[str, list[float]] = field(default_factory=dict)


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, rounds=3, seconds=2.0, chunks=100_000)
    settings = {"chunk_size": CHUNK, "max_local_cpu_size": options.chunks * 6144 / 2**30, "max_local_disk_size": 0}
    reads: dict[tuple[str, str], list[Load]] = {}
    clears: dict[str, list[Clear]] = {}
    with contextlib.ExitStack() as stack:
        names = kinds(options, "ours", "peer")
        servers = [stack.enter_context(engine(kind, options, *SHAPE, **settings)) for kind in names]
        for number in range(options.rounds):
            for server in servers[:: 1 if number % 2 else -1]:
                measure(server, options, reads, clears)
    rows = [*clear_rows(clears), *read_rows(reads)]
    results = {
        "clear": {kind: [asdict(clear) for clear in found] for kind, found in clears.items()},
        "reads": [{"path": path, "server": kind, **asdict(median_of(found))} for (path, kind), found in reads.items()],
    }
    head = ["what", "ours", "peer", "peer / ours"]
    finish(options, "scale", results, table(head, rows))


def measure(
    server: Server,
    options: argparse.Namespace,
    reads: dict[tuple[str, str], list[Load]],
    clears: dict[str, list[Clear]],
) -> None:
    """Fill one engine, read from it, clear it; then the same again with nobody else asking."""
    fill(server, options.chunks)
    for path in PATHS:
        reads.setdefault((path, server.kind), []).append(wrk(server, path, 1, options.seconds))
    clears.setdefault(server.kind, []).append(clear(server, MEANWHILE))
    fill(server, options.chunks)
    clears[server.kind].append(clear(server, ()))


def fill(server: Server, chunks: int) -> None:
    """Store as many chunks; what memory has no room for would be missing, and the clear would tell."""
    for first in range(0, chunks, STORED):
        last = min(first + STORED, chunks)
        reply = ask(server, "POST", f"/cache/store?tokens_mock={first * CHUNK},{last * CHUNK}")
        if reply.status != 200:
            raise SystemExit(f"a store failed: {reply}")


def clear(server: Server, meanwhile: Sequence[str]) -> Clear:
    """Clear the engine while requests come to other paths, each due whatever became of the one before."""
    over = threading.Event()
    waits: dict[str, list[float]] = {path: [] for path in meanwhile}
    threads = [threading.Thread(target=keep_asking, args=(server, path, waits[path], over)) for path in meanwhile]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    reply = ask(server, "DELETE", "/cache/clear")
    over.set()
    for thread in threads:
        thread.join()
    return Clear(reply.seconds, json.loads(reply.body)["num_removed"], waits)


def keep_asking(server: Server, path: str, waits: list[float], over: threading.Event) -> None:
    """Ask for one path every 20 ms; the time counts from when a request was due."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    due = time.perf_counter()
    while not over.is_set():
        connection.request("GET", path)
        connection.getresponse().read()
        waits.append((time.perf_counter() - due) * 1000)
        due += PERIOD
        time.sleep(max(0.0, due - time.perf_counter()))
    connection.close()


def clear_rows(clears: dict[str, list[Clear]]) -> list[list[object]]:
    """The median of the clears, and of the longest waits during them."""
    rows: list[list[object]] = []
    ours = clears["ours"]
    peer = clears.get("peer", [])
    what = f"clear of {ours[0].removed // CHUNK:,} chunks"
    for asked, when in ((False, "alone"), (True, "while others ask")):
        times = [[one.seconds * 1000 for one in found if bool(one.waits) is asked] for found in (ours, peer)]
        rows.append(_row(f"{what}, {when}, ms", *times))
    for path in MEANWHILE:
        longest = [[max(one.waits[path]) for one in found if one.waits] for found in (ours, peer)]
        rows.append(_row(f"GET {path} during the clear, longest ms", *longest))
    return rows


def read_rows(reads: dict[tuple[str, str], list[Load]]) -> list[list[object]]:
    """Milliseconds of a read, one at a time."""
    rows: list[list[object]] = []
    for path in PATHS:
        ours = [load.p50 for load in reads[path, "ours"]]
        rows.append(_row(f"GET {path}, p50 ms", ours, [load.p50 for load in reads.get((path, "peer"), [])]))
    return rows


def _row(what: str, ours: list[float], peer: list[float]) -> list[object]:
    mine = statistics.median(ours)
    theirs = statistics.median(peer) if peer else None
    return [what, mine, theirs, f"{theirs / mine:.2f}" if theirs is not None else None]


if __name__ == "__main__":
    main()
