"""The real command in a process of its own."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import lmcache_admin

LAST_LINE = "Ctrl-C ends it."
CEILING = 60  # seconds until a process that does not end is given up


@dataclass
class Started:
    """A `serve` that has said where it listens."""

    process: subprocess.Popen[str]
    lines: list[str]
    errors: Path

    @property
    def curl_lines(self) -> list[str]:
        """The lines that it tells its user to try."""
        return [line.strip() for line in self.lines if line.strip().startswith("curl ")]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(CEILING)


def environment(home: Path, **variables: str) -> dict[str, str]:
    """The environment without settings of LMCache, with the package on the path and a home of the test's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LMCACHE_", "XDG_"))}
    package = str(Path(lmcache_admin.__file__).parent.parent)
    return {**kept, "PYTHONPATH": package, "HOME": str(home), **variables}


@pytest.fixture(name="run")
def run_fixture(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`run("serve", "--port-start", "x", LMCACHE_...="...")`: the command until its end."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "lmcache_admin", *arguments],
            cwd=tmp_path,
            env=environment(tmp_path, **variables),
            capture_output=True,
            text=True,
            timeout=CEILING,
            check=False,
        )

    return run


@pytest.fixture(name="begin")
def begin_fixture(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`begin("--port-start", "7000", LMCACHE_...="...")`: a `serve` that has been begun; it is ended with the test."""
    processes: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, stderr: int = subprocess.PIPE, **variables: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "lmcache_admin", "serve", *arguments],
            cwd=tmp_path,
            env=environment(tmp_path, **variables),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        processes.append(process)
        return process

    yield begin
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait(CEILING)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture(name="start")
def start_fixture(tmp_path: Path, begin: Callable[..., subprocess.Popen[str]]) -> Callable[..., Started]:
    """`start("--port-start", "7000", LMCACHE_...="...")`: a `serve` that listens; it is ended with the test."""
    count = itertools.count()

    def start(*arguments: str, **variables: str) -> Started:
        errors = tmp_path / f"stderr-{next(count)}.log"
        with errors.open("w") as log:
            process = begin(*arguments, stderr=log.fileno(), **variables)
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if lines[-1] == LAST_LINE:
                return Started(process, lines, errors)
        raise AssertionError(f"serve ended with {process.wait(CEILING)}: {errors.read_text()}")

    return start
