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
            wrk(server.port, PATHS[0], 8, 1)
        found = measure(servers, options.rounds, options.seconds)
    medians = {key: median_of(loads) for key, loads in found.items()}
    rows = [_row(path, count, medians) for path in PATHS for count in CONNECTIONS]
    results = [
        {"path": path, "connections": count, "server": kind, **asdict(load)}
        for ((path, count), kind), load in medians.items()
    ]
    head = ["request", "connections", "ours req/s", "p99 ms", "peer req/s", "p99 ms", "waitress req/s", "p99 ms"]
    text = table([*head, "ours / peer", "ours / waitress", "errors"], rows)
    finish(options, "light", results, text)


def measure(servers: list[Server], rounds: int, seconds: float) -> dict[tuple[Case, str], list[Load]]:
    """Load every server with every case, all of them in each round."""
    found: dict[tuple[Case, str], list[Load]] = {}
    for number in range(rounds):
        for path in PATHS:
            for count in CONNECTIONS:
                for server in servers[:: 1 if number % 2 else -1]:
                    load = wrk(server.port, path, count, seconds)
                    found.setdefault(((path, count), server.kind), []).append(load)
    return found


def _row(path: str, count: int, medians: dict[tuple[Case, str], Load]) -> list[object]:
    found = {kind: medians.get(((path, count), kind)) for kind in ("ours", "peer", "waitress")}
    row: list[object] = [f"GET {path}", count]
    for load in found.values():
        row += [load.rate, load.p99] if load else [None, None]
    ours = found["ours"]
    for kind in ("peer", "waitress"):
        other = found[kind]
        row.append(f"{ours.rate / other.rate:.2f}" if ours and other else None)
    return [*row, sum(load.errors for load in found.values() if load)]


if __name__ == "__main__":
    main()
