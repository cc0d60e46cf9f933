"""A process killed while it stores loses no acknowledged chunk and leaves no wrong byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import lmcache_admin

PROGRAM = Path(__file__).with_name("kill_rounds.py")


def findings(folder: Path, rounds: int, seed: int) -> dict[str, int]:
    environ = {**os.environ, "PYTHONPATH": str(Path(lmcache_admin.__file__).parents[1])}
    command = [sys.executable, str(PROGRAM), str(folder), str(rounds), str(seed)]
    answer = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    found: dict[str, int] = json.loads(answer.stdout)
    return found


@pytest.mark.parametrize(
    ("rounds", "seed"), [(20, 20261124), pytest.param(200, 7, marks=pytest.mark.slow)]
)
def test_s59_s65_a_kill_at_a_random_moment_loses_no_acknowledged_chunk(tmp_path: Path, rounds: int, seed: int) -> None:
    found = findings(tmp_path / "chunks", rounds, seed)
    assert found["rounds"] == rounds
    assert found["acknowledged"] >= rounds
    assert found["killed_while_writing"] > 0
    assert (found["lost"], found["wrong"], found["leftovers"]) == (0, 0, 0)
