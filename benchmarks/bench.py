"""What the benchmarks share: servers in processes of their own, wrk, tables, results as JSON."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PEER_VARIABLE = "LMCACHE_ADMIN_TEST_LMCACHE_PYTHON"
_FIGURES = ("rate", "p50", "p99", "cpu")
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}
_VERSIONS = """
import importlib.metadata, json, platform
found = {"python": platform.python_version()}
wanted = "flask werkzeug waitress prometheus_client lmcache fastapi uvicorn uvloop httptools"
for name in wanted.split():
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


@dataclass
class Server:
    """A server that is running.

    Args:
        kind: `ours`, `peer` or `waitress`.
        port: Where it listens on 127.0.0.1.
        pid: Its process.
        report: Seconds from import to the first answer; resident memory before and after, MB.
    """

    kind: str
    port: int
    pid: int
    report: Mapping[str, float]


@dataclass
class Load:
    """What wrk saw: requests a second, milliseconds, failures, and the server's CPU time for a request in us."""

    rate: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    cpu: float = 0.0
    errors: int = 0


def arguments(doc: str | None, **defaults: Any) -> argparse.Namespace:
    """Read the command line: the options that every script has, and one for each default."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--python", default=sys.executable, help="interpreter for our server")
    parser.add_argument(
        "--peer-python",
        default=os.environ.get(PEER_VARIABLE),
        help=f"interpreter that has lmcache 0.5.6 (else ${PEER_VARIABLE}); without one there is no peer",
    )
    parser.add_argument("--json", type=Path, help="file for the results (default: beside the script)")
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    return parser.parse_args()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def serving(kind: str, options: argparse.Namespace, **given: object) -> Iterator[Server]:
    """Start a server in a process of its own, and end it.

    Args:
        kind: `ours`, `peer` or `waitress`.
        options: From `arguments`.
        given: Passed on to `served.py`.
    """
    port = free_port()
    python = options.peer_python if kind == "peer" else options.python
    command = [python, str(HERE / "served.py"), kind, str(port), *(f"{k}={v}" for k, v in given.items())]
    environ = {**os.environ, "LMCACHE_LOG_LEVEL": "ERROR"}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)  # it would have a checkout compiled anew at each start
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, cwd="/")
    try:
        yield Server(kind, port, process.pid, _report(process))
    finally:
        process.kill()
        process.communicate()


def _report(process: subprocess.Popen[bytes]) -> Mapping[str, float]:
    for line in process.stdout or ():
        if line.startswith(b'{"seconds"'):
            report: Mapping[str, float] = json.loads(line)
            return report
    raise SystemExit("a server did not start; its message is above")


def kinds(options: argparse.Namespace, *names: str) -> list[str]:
    """The servers of `names` that can be run here."""
    if options.peer_python is None:
        print(f"No peer: name an interpreter with lmcache 0.5.6 by --peer-python or ${PEER_VARIABLE}.", file=sys.stderr)
    return [name for name in names if name != "peer" or options.peer_python]


def wrk(server: Server, path: str, connections: int, seconds: float) -> Load:
    """Load one path with keep-alive connections, each with one request at a time."""
    url = f"http://127.0.0.1:{server.port}{path}"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "30s", "--latency", url]
    before = cpu_seconds(server.pid)
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return read_wrk(text, cpu_seconds(server.pid) - before)


def read_wrk(text: str, cpu_seconds: float) -> Load:
    """Read wrk's report."""
    latency = {m[1]: float(m[2]) * _UNITS[m[3]] for m in re.finditer(r"(\d+)%\s+([\d.]+)(us|ms|s|m)\b", text)}
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    done = re.search(r"(\d+) requests in", text)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    errors = (int(refused[1]) if refused else 0) + (sum(map(int, broken.groups())) if broken else 0)
    cpu = cpu_seconds * 1e6 / int(done[1]) if done and int(done[1]) else 0.0
    return Load(float(rate[1]) if rate else 0.0, latency.get("50", 0.0), latency.get("99", 0.0), cpu, errors)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def median_of(loads: Sequence[Load]) -> Load:
    """The median of each figure over the rounds, and all errors."""
    rate, p50, p99, cpu = (statistics.median(getattr(load, name) for load in loads) for name in _FIGURES)
    return Load(rate, p50, p99, cpu, sum(load.errors for load in loads))


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    cells = [[_cell(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in cells]
    lines = [f"| {' | '.join(row)} |" for row in padded]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    return "" if value is None else str(value)


def finish(options: argparse.Namespace, name: str, results: Any, text: str) -> None:
    """Print the table and write the results."""
    about = {
        "benchmark": name,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "command": " ".join([f"python benchmarks/{name}.py", *_shown(sys.argv[1:])]),
        "ours": versions(options.python),
        "peer": versions(options.peer_python),
    }
    print(f"{about['date']}  {about['machine']}\n{about['command']}\nours: {about['ours']}\npeer: {about['peer']}\n")
    print(text)
    path: Path = options.json or HERE / f"{name}.json"
    path.write_text(json.dumps({**about, "results": results}, indent=2) + "\n", encoding="utf-8")


def _shown(given: Sequence[str]) -> list[str]:
    """Arguments without the paths of this machine."""
    return [Path(value).name if os.path.isabs(value) else value for value in given]


def machine() -> str:
    """Cores, processor, load and system, in one line."""
    cpu = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "?")
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{os.cpu_count()} cores ({cpu}), load {load}, {platform.system()} {platform.release()}"


def versions(python: str | None) -> Mapping[str, str]:
    """Versions of what an interpreter has installed."""
    if python is None:
        return {}
    run = subprocess.run([python, "-c", _VERSIONS], check=True, capture_output=True, text=True)
    found: Mapping[str, str] = json.loads(run.stdout)
    return found


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text("utf-8").splitlines()
    except OSError:
        return []
