"""Backends and lookup clients of a real LMCache 0.5.6, closed and made at run time."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.lmcache

CPU, DISK, REMOTE = "LocalCPUBackend", "LocalDiskBackend", "RemoteBackend"
COUNTED = "ChunkStatisticsLookupClient(LMCacheLookupClient)"


@pytest.fixture(scope="module")
def facts(lmcache_python: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `lmcache_change_scenarios.py` saw."""
    script = Path(__file__).with_name("lmcache_change_scenarios.py")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LMCACHE_")}
    done = subprocess.run(
        [lmcache_python, str(script), str(tmp_path_factory.mktemp("s"))],
        env={**environment, "PYTHONHASHSEED": "0", "LMCACHE_TRACK_USAGE": "false"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def lookups(facts: dict[str, Any]) -> list[Any]:
    """What an operator asked of a live scheduler, and what its lookups answered in between."""
    steps: list[Any] = facts["lookup"]["steps"]
    return steps


def step(facts: dict[str, Any], asked: str) -> dict[str, Any]:
    """The first step of the live engine in which that was asked."""
    found: dict[str, Any] = next(taken for taken in facts["backends"]["steps"] if taken["asked"] == asked)
    return found


@pytest.mark.parametrize("kind", ["clients", "servers"])
def test_a_description_is_what_lmcache_really_makes(facts: dict[str, Any], kind: str) -> None:
    for name, one in facts[kind].items():
        assert one["described"] == one["made"], name
    assert len({one["made"] for one in facts[kind].values()}) > 2


def test_what_cannot_be_made_is_refused_in_the_words_of_lmcache(facts: dict[str, Any]) -> None:
    assert facts["refusals"]["described"] == facts["refusals"]["made"]
    assert all("error" in one for one in facts["refusals"]["made"])


def test_a_description_of_an_asynchronous_client_is_what_lmcache_really_makes(facts: dict[str, Any]) -> None:
    assert facts["asynchronous client"] == dict.fromkeys(("described", "made"), "LMCacheAsyncLookupClient")
    assert facts["asynchronous client without engine id"] == dict.fromkeys(("described", "made"), "fails")


def test_a_dry_run_answers_while_a_client_is_live_and_leaves_that_alone(lookups: list[Any]) -> None:
    told = ["POST /lookup/create?dryrun=true", 200, {"new": COUNTED, "dryrun": True, "role": "scheduler"}]
    assert lookups[:6] == [
        ["POST /lookup/create", 200, {"new": COUNTED, "role": "scheduler"}],
        ["lookup", 32],
        told,
        told,
        told,
        ["lookup", 32],
    ]


def test_statistics_of_a_live_client_count_its_lookups(lookups: list[Any]) -> None:
    assert lookups[6][1:] == [200, {"status": "success", "message": "Started"}]
    figures = lookups[8][2]
    assert (figures["enabled"], figures["total_requests"]) == (True, 1)
    assert (figures["total_chunks"], figures["unique_chunks"], figures["duplicate_chunks"]) == (3, 3, 0)
    assert figures["auto_exit_enabled"] is False
    assert figures["auto_exit_target_unique_chunks"] == 0


def test_a_client_that_was_recreated_looks_up_and_one_that_was_closed_is_gone(lookups: list[Any]) -> None:
    assert lookups[9:] == [
        ["POST /lookup/recreate", 200, {"old": COUNTED, "new": COUNTED, "role": "scheduler"}],
        ["lookup", 32],
        ["POST /lookup/close", 200, {"old": COUNTED, "role": "scheduler"}],
        ["lookup", None],
        ["POST /lookup/recreate", 400, {"error": "lookup client not available", "role": "scheduler"}],
        ["GET /lookup/info", 200, {"client": "None", "server": "None"}],
    ]


@pytest.mark.parametrize("name", [CPU, DISK, REMOTE])
def test_a_backend_that_is_recreated_keeps_its_place_and_the_engine_goes_on(facts: dict[str, Any], name: str) -> None:
    taken = step(facts, f"POST /backends/{name}/recreate")
    assert (taken["status"], taken["body"]["recreated"]) == (200, {name: name})
    assert taken["order"] == list(taken["body"]["backends"]) == [CPU, DISK, REMOTE]
    assert taken["found"] == 32


def test_a_new_allocator_is_given_to_all_that_use_the_old_one(facts: dict[str, Any]) -> None:
    taken = step(facts, f"POST /backends/{CPU}/recreate")
    assert taken["allocates"] is True
    assert taken["known to"] == [DISK, REMOTE, "FSConnector"]


def test_closing_the_allocator_is_refused_and_changes_nothing(facts: dict[str, Any]) -> None:
    taken = step(facts, f"DELETE /backends/{CPU}")
    assert (taken["status"], taken["body"]["error"]) == (409, "Failed to close backend")
    assert (taken["order"], taken["found"]) == ([CPU, DISK, REMOTE], 32)


def test_an_allocator_whose_memory_others_have_registered_is_not_recreated(facts: dict[str, Any]) -> None:
    taken = facts["backends"]["steps"][-2]
    assert (taken["asked"], taken["status"]) == (f"POST /backends/{CPU}/recreate", 409)
    assert taken["body"]["message"] == f"P2PBackend has registered the memory that {CPU} allocates; nothing was closed."
    assert (taken["allocates"], taken["found"]) == (True, 32)


def test_a_backend_that_is_created_again_comes_back_to_its_place(facts: dict[str, Any]) -> None:
    closed, created = step(facts, f"DELETE /backends/{DISK}"), step(facts, "POST /backends")
    assert (closed["status"], closed["order"]) == (200, [CPU, REMOTE])
    assert (created["status"], created["body"]["created"]) == (200, {DISK: DISK})
    assert (created["order"], created["found"]) == ([CPU, DISK, REMOTE], 32)


def test_a_backend_that_cannot_be_created_again_is_said_to_be_closed(facts: dict[str, Any]) -> None:
    taken = facts["backends"]["steps"][-1]
    assert (taken["status"], taken["order"], taken["found"]) == (500, [CPU, DISK], 32)
    assert taken["body"] == {
        "error": "Failed to recreate backend",
        "message": f"{REMOTE} is closed, and creating it failed: AssertionError. POST /backends tries that again.",
    }
