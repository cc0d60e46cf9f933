"""A served worker under a mixed load for half an hour: is every answer one that was asked for, and does nothing grow?

`lmcache-admin serve` with the embedded engine, memory and disk, whose budgets are small enough to be full all the
while, and an audit file that is rotated. There is no peer: the measure is the server itself at rest before and after.

It fails (exit code 1) if
- a request had a status that it should not have, or no answer;
- the server logged an error, or its audit does not verify;
- at rest after the load it has more descriptors or threads than at rest before (after a short load of the same kind);
- over the second half of a run of at least 10 minutes, by least squares, resident memory grew by more than 2 %, or
  descriptors or threads by more than 2.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import HERE, arguments, finish, free_port, table
from soak_load import Seen, start

LAST_LINE = "Ctrl-C ends it."
WARM_UP = 5.0  # seconds of load before the first look at rest
REST_CEILING = 30.0  # seconds that threads and descriptors of what was asked last may take to go
LONG = 600.0  # seconds from which on growth is judged
MOST_GROWTH = {"memory": 0.02, "descriptors": 2.0, "threads": 2.0}  # memory as a share of its mean
EXTRA = {"audit_max_bytes": 4_000_000, "audit_keep": 3, "log_level": "warning"}
SETTINGS = {
    "chunk_size": 256,
    "max_local_cpu_size": 0.02,
    "max_local_disk_size": 0.05,
    "extra_config": {f"internal_api_server_{name}": value for name, value in EXTRA.items()},
}


@dataclass(frozen=True)
class Sample:
    """The server at one moment of the load: resident memory in MB."""

    seconds: float
    memory: float
    descriptors: int
    threads: int


def look(pid: int, since: float) -> Sample:
    """Look at a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    memory = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    threads = len(os.listdir(f"/proc/{pid}/task"))
    return Sample(time.monotonic() - since, memory, len(os.listdir(f"/proc/{pid}/fd")), threads)


@contextlib.contextmanager
def served(options: argparse.Namespace, folder: Path) -> Iterator[tuple[int, int]]:
    """Run `serve` in a folder; gives port and process of the worker."""
    port = free_port()
    (folder / "lmcache.yaml").write_text(json.dumps(SETTINGS))  # JSON is YAML
    given = ["--config", "lmcache.yaml", "--data", "data", "--port-start", str(port), "--log-format", "json"]
    with (folder / "log").open("wb") as log:
        command = [options.python, "-m", "lmcache_admin", "serve", *given]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, cwd=folder, env=environment())
    try:
        if not any(line.decode().strip() == LAST_LINE for line in process.stdout or ()):
            raise SystemExit(f"serve did not start: {(folder / 'log').read_text()}")
        yield port + 1, process.pid
    finally:
        process.terminate()
        process.communicate()


def environment() -> dict[str, str]:
    """The environment of `serve`: without settings, and with the package of this checkout unless one is named."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LMCACHE_", "XDG_"))}
    return {**kept, "PYTHONPATH": os.environ.get("PYTHONPATH", str(HERE.parent))}


def load(port: int, pid: int, rate: float, seconds: float, every: float) -> tuple[Seen, list[Sample]]:
    """Load the worker; look at it from time to time."""
    seen, end, samples = Seen(), threading.Event(), []
    since = time.monotonic()
    callers = start(port, rate, seen, end)
    while (left := since + seconds - time.monotonic()) > 0:
        time.sleep(min(every, left))
        samples.append(look(pid, since))
        if len(samples) % max(1, round(60 / every)) == 0:
            print(f"{samples[-1]} {sum(seen.counts.values())} requests, {len(seen.unasked)} unasked", file=sys.stderr)
    end.set()
    for caller in callers:
        caller.join()
    return seen, samples


def at_rest(pid: int, like: Sample | None = None) -> Sample:
    """Look until what was asked last is over: nothing changes for 2 s, and nothing is left over that `like` had not."""
    until, last, since = time.monotonic() + REST_CEILING, look(pid, 0), time.monotonic()
    while time.monotonic() < until:
        time.sleep(0.25)
        now = look(pid, 0)
        if (now.descriptors, now.threads) != (last.descriptors, last.threads):
            last, since = now, time.monotonic()
        elif time.monotonic() - since > 2 and (like is None or not left_over(like, now)):
            return now
    return last


def left_over(before: Sample, after: Sample) -> list[str]:
    """What there is more of after the load."""
    names = ("descriptors", "threads")
    return [
        f"{name} at rest: {getattr(before, name)} before, {getattr(after, name)} after"
        for name in names
        if getattr(after, name) > getattr(before, name)
    ]


def growth(samples: Sequence[Sample], name: str) -> float:
    """How much it grew over the second half, by least squares; memory as a share of its mean."""
    half = samples[len(samples) // 2 :]
    if len(half) < 2:
        return 0.0
    times, values = [s.seconds for s in half], [float(getattr(s, name)) for s in half]
    grown = statistics.linear_regression(times, values).slope * (times[-1] - times[0])
    return grown / statistics.fmean(values) if name == "memory" else grown


def faults(folder: Path, options: argparse.Namespace, report: dict[str, Any]) -> list[str]:
    """Everything that is not as it should be."""
    found = [f"not asked for: {text}" for text in report["unasked"][:20]]
    found += left_over(Sample(**report["rest"]["before"]), Sample(**report["rest"]["after"]))
    if options.seconds >= LONG:
        grown = report["growth"].items()
        found += [f"{name} grew by {value:.3g}" for name, value in grown if value > MOST_GROWTH[name]]
    lines = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    report["logged"] = [f"{line['level']} {line['message']}" for line in lines]
    found += [f"logged: {line['message']}" for line in lines if line["level"] in ("error", "critical")]
    command = [options.python, "-m", "lmcache_admin", "audit", "verify", "--file", str(folder / "data" / "audit.log")]
    verified = subprocess.run(command, capture_output=True, text=True, env=environment(), cwd=folder, check=False)
    report["audit"] = (verified.stdout + verified.stderr).strip().replace(f"{folder}/", "")
    return found + ([f"audit: {report['audit']}"] if verified.returncode else [])


def tables(report: dict[str, Any], seen: Seen) -> str:
    """What is printed."""
    routes = [[name, status, count] for (name, status), count in sorted(seen.counts.items())]
    kinds = [[kind, *figures.values()] for kind, figures in report["kinds"].items()]
    samples = [Sample(**sample) for sample in report["samples"]]
    state = []
    for name in ("memory", "descriptors", "threads"):
        values = [getattr(sample, name) for sample in samples]
        row = [values[0], values[-1], max(values), report["growth"][name]]
        state.append([name, report["rest"]["before"][name], *row, report["rest"]["after"][name]])
    head = ["", "at rest before", "first", "last", "most", "growth over the second half", "at rest after"]
    parts = [
        table(["route", "status", "requests"], routes),
        table(["kind", "requests", "a second", "p50 ms", "p99 ms", "max ms"], kinds),
        table(head, state),
        f"audit: {report['audit']}",
        f"logged: {len(report['logged'])} lines",
        *report["logged"][:20],
        *(f"FAULT {fault}" for fault in report["faults"]),
    ]
    return "\n\n".join(parts[:3]) + "\n\n" + "\n".join(parts[3:])


def figures(times: Sequence[float], seconds: float) -> dict[str, float]:
    """One kind of request."""
    cuts = statistics.quantiles(times, n=100, method="inclusive") if len(times) > 1 else [*times] * 99
    return {
        "requests": len(times),
        "rate": len(times) / seconds,
        "p50": statistics.median(times),
        "p99": cuts[98],
        "max": max(times),
    }


def main() -> None:
    """Load, look, judge."""
    options = arguments(__doc__, seconds=1800.0, rate=200.0, every=10.0)
    with tempfile.TemporaryDirectory(prefix="soak") as name:
        folder = Path(name)
        with served(options, folder) as (port, pid):
            warm, _ = load(port, pid, options.rate, WARM_UP, WARM_UP)
            before = at_rest(pid)
            seen, samples = load(port, pid, options.rate, options.seconds, min(options.every, options.seconds / 10))
            after = at_rest(pid, before)
        report: dict[str, Any] = {
            "requests": [[route, status, count] for (route, status), count in sorted(seen.counts.items())],
            "kinds": {kind: figures(times, options.seconds) for kind, times in seen.times.items()},
            "samples": [asdict(sample) for sample in samples],
            "growth": {name: growth(samples, name) for name in ("memory", "descriptors", "threads")},
            "rest": {"before": asdict(before), "after": asdict(after)},
            "unasked": warm.unasked + seen.unasked,
        }
        report["faults"] = faults(folder, options, report)
    finish(options, "soak", report, tables(report, seen))
    raise SystemExit(1 if report["faults"] else 0)


if __name__ == "__main__":
    main()
