"""A controller's registry: GET /controller/workers with 800 and 10,000 workers, key-stats with 1,250 instances."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from bench import Load, Server, arguments, finish, kinds, median_of, serving, table, wrk

CASES = ((800, "/controller/workers"), (10_000, "/controller/workers"), (10_000, "/controller/key-stats"))


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, rounds=3, seconds=4.0)
    rows: list[list[Any]] = []
    results = []
    for workers, path in CASES:
        for (count, kind), (load, added) in measure(options, workers, path).items():
            rows.append(
                [path, workers, count, kind, load.rate, load.p50, load.p99, load.cpu / 1000, added, load.errors]
            )
            results.append({"path": path, "workers": workers, "connections": count, "server": kind, **vars(load)})
            results[-1]["added_mb"] = added
    rates = {(row[0], row[1], row[2], row[3]): row[4] for row in rows}
    for row in rows:
        ours = rates[row[0], row[1], row[2], "ours"]
        row.append(f"{ours / row[4]:.1f}" if row[3] != "ours" and row[4] else None)
    head = ["request", "workers", "connections", "server", "req/s", "p50 ms", "p99 ms", "CPU ms/req", "added MB"]
    finish(options, "workers", results, table([*head, "errors", "ours, times its req/s"], rows))


def measure(options: Any, workers: int, path: str) -> dict[tuple[int, str], tuple[Load, float]]:
    """(connections, server) -> median load, and resident memory added by answering."""
    found: dict[tuple[int, str], list[Load]] = {}
    with contextlib.ExitStack() as stack:
        given = {"workers": workers, "first": "/version"}
        servers = [stack.enter_context(serving(kind, options, **given)) for kind in kinds(options, "ours", "peer")]
        before = {server.kind: resident(server) for server in servers}
        for _ in range(options.rounds):
            for count in (1, 8):
                for server in servers:
                    found.setdefault((count, server.kind), []).append(wrk(server, path, count, options.seconds))
        added = {server.kind: resident(server) - before[server.kind] for server in servers}
    return {key: (median_of(loads), added[key[1]]) for key, loads in found.items()}


def resident(server: Server) -> float:
    """A server's resident memory, MB."""
    lines = Path(f"/proc/{server.pid}/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1000


if __name__ == "__main__":
    main()
