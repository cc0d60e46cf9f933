"""GET /metrics with 1,000 counters with labels: at 8 connections, and alone against `generate_latest` itself."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
from typing import Any

from bench import HERE, Load, arguments, finish, kinds, median_of, serving, table, wrk

_ITSELF = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from served import add_series
from prometheus_client import REGISTRY, generate_latest
add_series(int(sys.argv[2]))
times = []
for _ in range(60):
    began = time.perf_counter()
    size = len(generate_latest(REGISTRY))
    times.append((time.perf_counter() - began) * 1000)
print(json.dumps([sorted(times[10:])[25], size]))
"""


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, rounds=5, seconds=2.0, series=1000)
    found: dict[tuple[str, int], list[Load]] = {}
    itself: list[float] = []
    with contextlib.ExitStack() as stack:
        given = {"series": options.series}
        servers = [stack.enter_context(serving(kind, options, **given)) for kind in kinds(options, "ours", "peer")]
        for _ in range(options.rounds):
            for count in (8, 1):
                for server in servers:
                    load = wrk(server, "/metrics", count, options.seconds)
                    found.setdefault((server.kind, count), []).append(load)
            command = [options.python, "-c", _ITSELF, str(HERE), str(options.series)]
            answer: tuple[float, int] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            itself.append(answer[0])
    medians = {key: median_of(loads) for key, loads in found.items()}
    rows: list[list[Any]] = []
    for (kind, count), load in medians.items():
        ratio = f"{medians['ours', count].rate / load.rate:.1f}" if kind != "ours" else None
        rows.append([kind, count, load.rate, load.p50, load.p99, load.cpu, load.errors, ratio])
    rows.append(["generate_latest itself", None, None, statistics.median(itself), None, None, None, None])
    results = {f"{kind} {count}": vars(load) for (kind, count), load in medians.items()}
    head = ["server", "connections", "req/s", "p50 ms", "p99 ms", "CPU us/req", "errors", "ours, times its req/s"]
    finish(options, "metrics", {**results, "generate_latest ms": statistics.median(itself)}, table(head, rows))


if __name__ == "__main__":
    main()
