"""A process killed while it stores loses no acknowledged chunk and leaves no wrong byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import lmcache_admin

PROGRAM = Path(__file__).with_name("kill_rounds.py")


def findings(place: str, rounds: int, seed: int) -> dict[str, int]:
    environ = {**os.environ, "PYTHONPATH": str(Path(lmcache_admin.__file__).parents[1])}
    command = [sys.executable, str(PROGRAM), place, str(rounds), str(seed)]
    answer = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    found: dict[str, int] = json.loads(answer.stdout)
    return found


@pytest.mark.parametrize(
    ("rounds", "seed"), [(20, 20261124), pytest.param(200, 7, marks=pytest.mark.slow)]
)
def test_s59_s65_a_kill_at_a_random_moment_loses_no_acknowledged_chunk(tmp_path: Path, rounds: int, seed: int) -> None:
    found = findings(str(tmp_path / "chunks"), rounds, seed)
    assert found["rounds"] == rounds
    assert found["acknowledged"] >= rounds
    assert found["killed_while_writing"] > 0
    assert (found["lost"], found["wrong"], found["leftovers"]) == (0, 0, 0)


@pytest.mark.parametrize(("rounds", "seed"), [(20, 3), pytest.param(200, 4, marks=pytest.mark.slow)])
def test_nor_does_one_in_a_folder_that_is_shared(tmp_path: Path, rounds: int, seed: int) -> None:
    found = findings(f"file://{tmp_path / 'chunks'}", rounds, seed)
    assert found["acknowledged"] >= rounds
    assert found["killed_while_writing"] > 0
    assert (found["lost"], found["wrong"], found["leftovers"]) == (0, 0, 0)


@pytest.mark.parametrize(("rounds", "seed"), [(20, 5), pytest.param(200, 6, marks=pytest.mark.slow)])
def test_nor_does_one_in_redis(redis_server: Any, rounds: int, seed: int) -> None:
    found = findings(redis_server.url, rounds, seed)
    assert found["acknowledged"] >= rounds
    assert (found["lost"], found["wrong"]) == (0, 0)
