"""Import and start until the first answer, and the memory that a server adds to its host.

LMCache's server imports LMCache's engine and torch; a process that has a cache to manage has loaded both, so they
are loaded before the measurement begins. Ours is measured on that host as well, if its interpreter has what ours
needs, and in a bare one with the host object alone.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

from bench import arguments, finish, serving, table, versions


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, rounds=5)
    cases: list[tuple[str, str, str | None, dict[str, str]]] = [("ours, bare host", "ours", options.python, {})]
    if options.peer_python:
        if "flask" in versions(options.peer_python):
            cases.append(("ours, LMCache loaded", "ours", options.peer_python, {"loaded": "yes"}))
        cases.append(("peer, LMCache loaded", "peer", options.peer_python, {"loaded": "yes"}))
    cases.append(("waitress alone", "waitress", options.python, {}))
    found: dict[str, list[dict[str, float]]] = {}
    for number in range(options.rounds + 1):
        for name, kind, python, given in cases:
            chosen = argparse.Namespace(python=python, peer_python=python)
            with serving(kind, chosen, **given) as server:
                report = server.report
                if number == 0:
                    continue  # this start compiled what had not been compiled
                figures = {"seconds": report["seconds"], "added_mb": report["after"] - report["before"]}
                found.setdefault(name, []).append(figures)
    middle = {name: {key: statistics.median(f[key] for f in each) for key in each[0]} for name, each in found.items()}
    peer = middle.get("peer, LMCache loaded")
    rows: list[list[Any]] = []
    for name, figures in middle.items():
        ratios = [f"{figures[key] / peer[key]:.2f}" if peer else None for key in figures]
        rows.append([name, figures["seconds"], figures["added_mb"], *ratios])
    finish(options, "footprint", middle, table(["server", "seconds", "added MB", "of peer's s", "of peer's MB"], rows))


if __name__ == "__main__":
    main()
