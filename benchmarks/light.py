"""Small answers: GET /freeze/status (one call on the host) and GET /version (none), at 8 connections and at 1.

Ours, LMCache's own server, and waitress alone with a function of two lines as the most that a server on
waitress can reach. All three stand in processes of their own; each round loads them one after the other.
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict

from bench import Load, Server, arguments, finish, kinds, median_of, serving, table, wrk

PATHS = ("/freeze/status", "/version")
CONNECTIONS = (8, 1)
Case = tuple[str, int]


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, rounds=7, seconds=2.0)
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(serving(kind, options)) for kind in kinds(options, "ours", "peer", "waitress")]
        for server in servers:
            wrk(server, PATHS[0], 8, 1)
        found = measure(servers, options.rounds, options.seconds)
    medians = {key: median_of(loads) for key, loads in found.items()}
    rows = [_row(case, kind, load, medians[case, "ours"]) for (case, kind), load in medians.items()]
    results = [
        {"path": path, "connections": count, "server": kind, **asdict(load)}
        for ((path, count), kind), load in medians.items()
    ]
    head = ["request", "connections", "server", "req/s", "p50 ms", "p99 ms", "CPU us/req", "errors"]
    head += ["ours, times its req/s", "ours, times its CPU"]
    finish(options, "light", results, table(head, rows))


def measure(servers: list[Server], rounds: int, seconds: float) -> dict[tuple[Case, str], list[Load]]:
    """Load every server with every case, all of them in each round."""
    found: dict[tuple[Case, str], list[Load]] = {}
    for number in range(rounds):
        for path in PATHS:
            for count in CONNECTIONS:
                for server in servers[:: 1 if number % 2 else -1]:
                    load = wrk(server, path, count, seconds)
                    found.setdefault(((path, count), server.kind), []).append(load)
    return found


def _row(case: Case, kind: str, load: Load, ours: Load) -> list[object]:
    figures = [load.rate, load.p50, load.p99, load.cpu, load.errors]
    ratios = [f"{ours.rate / load.rate:.2f}", f"{ours.cpu / load.cpu:.2f}"] if kind != "ours" else [None, None]
    return [f"GET {case[0]}", case[1], kind, *figures, *ratios]


if __name__ == "__main__":
    main()
