"""What a page reads, from a real LMCache engine with its full configuration: ours beside LMCache's own server.

What needs no call on the host is also measured against `/healthz`, which is loaded right before it in each round.
"""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import asdict

from bench import Load, Server, arguments, finish, kinds, median_of, table, wrk
from standalone import ask, engine

ALIVE = "/healthz"
#: Without a call on the host.
QUIET = ("/version", "/lmc_version", "/commit_id")
PATHS = (
    *QUIET,
    "/conf",
    "/conf?names=chunk_size,local_cpu",
    "/meta",
    "/inference_info",
    "/freeze/status",
    "/hot_cache/status",
    "/bypass/list",
    "/backends",
    "/lookup/info",
    "/cache/kvcache/info",
)
Loads = dict[tuple[str, str], list[Load]]


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, rounds=5, seconds=2.0, connections=8, only="")
    found: Loads = {}
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(engine(kind, options)) for kind in kinds(options, "ours", "peer")]
        for number in range(options.rounds):
            measure(servers[:: 1 if number % 2 else -1], options, found)
    medians = {key: median_of(loads) for key, loads in found.items()}
    results = [{"path": path, "server": kind, **asdict(load)} for (path, kind), load in medians.items()]
    head = ["request", "ours req/s", "peer req/s", "ours / peer", "ours / healthz", "ours CPU us", "peer CPU us"]
    head += ["CPU ours / peer", "CPU ours / healthz", "ours p99 ms", "peer p99 ms", "errors"]
    rows = [_row(path, medians) for path in PATHS if (path, "ours") in medians]
    finish(options, "reads", results, table(head, rows))


def measure(servers: list[Server], options: argparse.Namespace, found: Loads) -> None:
    """Load every path of every server once."""
    for path in PATHS:
        if options.only not in path:
            continue
        for server in servers:
            if server.kind == "ours" and path in QUIET:
                load = wrk(server, ALIVE, options.connections, options.seconds)
                found.setdefault((path, "healthz"), []).append(load)
            if ask(server, "GET", path).status == 200:
                load = wrk(server, path, options.connections, options.seconds)
                found.setdefault((path, server.kind), []).append(load)


def _row(path: str, medians: dict[tuple[str, str], Load]) -> list[object]:
    ours, peer, alive = (medians.get((path, kind)) for kind in ("ours", "peer", "healthz"))
    if ours is None:
        raise KeyError(path)
    return [
        f"GET {path}",
        ours.rate,
        peer and peer.rate,
        peer and f"{ours.rate / peer.rate:.2f}",
        alive and f"{ours.rate / alive.rate:.2f}",
        ours.cpu,
        peer and peer.cpu,
        peer and f"{ours.cpu / peer.cpu:.2f}",
        alive and f"{ours.cpu / alive.cpu:.2f}",
        ours.p99,
        peer and peer.p99,
        ours.errors + (peer.errors if peer else 0),
    ]


if __name__ == "__main__":
    main()
