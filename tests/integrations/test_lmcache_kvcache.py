"""KV caches in torch tensors and in arrays: our answers beside those of LMCache 0.5.6's own server."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytestmark = pytest.mark.lmcache


class Case(NamedTuple):
    """One request and both answers, each [status, content type, body]."""

    scenario: str
    path: str
    ours: list[Any]
    theirs: list[Any]


@pytest.fixture(scope="module")
def cases(lmcache_python: str) -> list[Case]:
    """What `lmcache_kvcache_scenarios.py` saw."""
    script = Path(__file__).with_name("lmcache_kvcache_scenarios.py")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LMCACHE_", "COV"))}
    done = subprocess.run(
        [lmcache_python, str(script)],
        env={**environment, "LMCACHE_TRACK_USAGE": "false", "LMCACHE_LOG_LEVEL": "ERROR"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [Case(*case) for case in json.loads(done.stdout[done.stdout.index("[[") :])]


def of(cases: list[Case], scenario: str) -> list[Case]:
    chosen = [case for case in cases if case.scenario == scenario]
    assert chosen
    return chosen


@pytest.mark.parametrize(
    "scenario",
    ["tensors", "arrays", "views", "elsewhere", "blocks before halves", "known", "refused", "none", "record", "float8"],
)
def test_answers_are_the_same_to_the_byte(cases: list[Case], scenario: str) -> None:
    for case in of(cases, scenario):
        assert case.ours == case.theirs, case


def test_most_answers_are_digests(cases: list[Case]) -> None:
    digests = [c for c in cases if c.ours[0] == 200 and "check" in c.path and json.loads(c.ours[2])["chunk_checksums"]]
    assert len(digests) > 500


def test_known_digests_come_out_in_this_process_too(cases: list[Case]) -> None:
    texts = [case.ours[2] for case in of(cases, "known")]
    for digest in ("5721adf5d35e97653f8de5d0e81afa75", "6290c298c64173708e2f67c045923dc7"):
        assert any(digest in text for text in texts)


def test_layer_with_fewer_slots_is_named_beside_the_same_answer(cases: list[Case]) -> None:
    named = 0
    for case in of(cases, "fewer slots"):
        ours, theirs = json.loads(case.ours[2]), json.loads(case.theirs[2])
        failed = ours.pop("failed_layers", None)
        assert ours == theirs
        if ours["num_chunks"]:
            assert failed == ["model.layers.1"]
            named += 1
    assert named


def test_float8_is_500_there_and_digested_as_bytes_here(cases: list[Case]) -> None:
    info, check = of(cases, "float8 itself")
    assert info.ours == info.theirs
    assert "torch.float8_e4m3fn" in info.ours[2]
    assert (check.theirs[0], check.ours[0]) == (500, 200)
