"""A scheduler without an engine and a worker with a lookup server: the lookup's two ends, and statistics of chunks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

OURS = ["embedded", pytest.param("lmcache", marks=pytest.mark.lmcache)]
KINDS = [*OURS, pytest.param("own", marks=pytest.mark.lmcache)]
#: Class names of client and server.
NAMES = {"embedded": ("LookupClient", "LookupServer"), "lmcache": ("LMCacheLookupClient", "LMCacheLookupServer")}
STATUS = [
    *("enabled", "total_requests", "timing", "total_chunks", "unique_chunks", "duplicate_chunks", "reuse_rate"),
    *("bloom_filter", "async_queue", "timestamp", "auto_exit_enabled", "auto_exit_timeout_hours"),
    "auto_exit_target_unique_chunks",
]


class Roles(NamedTuple):
    """A scheduler and a worker, and the classes of their ends of the lookup."""

    scheduler: Any
    worker: Any
    client: str
    server: str


def roles_of(kind: str, start: Callable[[str], tuple[Any, Any]]) -> Roles:
    """The process of a kind of host."""
    scheduler, worker = start(kind)
    client, server = NAMES["embedded" if kind == "embedded" else "lmcache"]
    return Roles(scheduler, worker, f"ChunkStatisticsLookupClient({client})", server)


@pytest.fixture(params=KINDS)
def roles(request: pytest.FixtureRequest, role_hosts: Callable[[str], tuple[Any, Any]]) -> Roles:
    """Each kind of host in turn."""
    return roles_of(request.param, role_hosts)


@pytest.fixture(params=OURS)
def our_roles(request: pytest.FixtureRequest, role_hosts: Callable[[str], tuple[Any, Any]]) -> Roles:
    """Each kind of host with our server."""
    return roles_of(request.param, role_hosts)


def test_statistics_count_the_lookups(roles: Roles) -> None:
    found = roles.scheduler.value("GET", "/chunk_statistics/status")
    assert list(found) == STATUS
    # what was looked up at the start: requests `first`, twice, and `second`, each of two chunks
    assert (found["enabled"], found["total_requests"]) == (True, 2)
    assert (found["unique_chunks"], found["duplicate_chunks"], found["reuse_rate"]) == (2, 2, 0.5)
    assert (found["bloom_filter"]["expected_elements"], found["async_queue"]["capacity"]) == (1000, 100000)


def test_statistics_are_stopped_and_started(roles: Roles) -> None:
    for action, message, enabled in (("stop", "Stopped", False), ("start", "Started", True)):
        answer = roles.scheduler.value("POST", f"/chunk_statistics/{action}")
        assert answer == {"status": "success", "message": message}
        assert roles.scheduler.value("GET", "/chunk_statistics/status")["enabled"] is enabled


def test_the_lookup_is_described_by_role(roles: Roles) -> None:
    assert roles.scheduler.value("GET", "/lookup/info") == {"client": roles.client, "server": "None"}
    assert roles.worker.value("GET", "/lookup/info") == {"client": "None", "server": roles.server}


@pytest.mark.parametrize("role", ["scheduler", "worker"])
def test_an_end_of_the_lookup_is_closed_and_made(roles: Roles, role: str) -> None:
    side, name = getattr(roles, role), roles.client if role == "scheduler" else roles.server
    part = "client" if role == "scheduler" else "server"
    assert side.value("POST", "/lookup/recreate") == {"old": name, "new": name, "role": role}
    assert side.value("POST", "/lookup/close") == {"old": name, "role": role}
    assert side.value("GET", "/lookup/info")[part] == "None"
    assert side.value("POST", "/lookup/close") == {"old": "None", "role": role}
    refused = side.ask("POST", "/lookup/recreate")
    assert (refused.status, refused.json()) == (400, {"error": f"lookup {part} not available", "role": role})
    assert side.value("POST", "/lookup/create") == {"new": name, "role": role}
    assert side.value("GET", "/lookup/info")[part] == name


@pytest.mark.parametrize("role", ["scheduler", "worker"])
def test_a_dry_run_beside_a_live_one_answers_and_changes_nothing(our_roles: Roles, role: str) -> None:
    # in LMCache's own server the scheduler's ends the process's answers for good
    side, name = getattr(our_roles, role), our_roles.client if role == "scheduler" else our_roles.server
    before = side.value("GET", "/lookup/info")
    for _ in range(3):
        assert side.value("POST", "/lookup/create?dryrun=true") == {"new": name, "dryrun": True, "role": role}
    assert side.value("GET", "/lookup/info") == before


def test_statistics_are_set_back(roles: Roles) -> None:
    assert roles.scheduler.value("POST", "/chunk_statistics/reset") == {"status": "success", "message": "Reset"}
    found = roles.scheduler.value("GET", "/chunk_statistics/status")
    assert (found["enabled"], found["total_requests"], found["total_chunks"]) == (True, 0, 0)


@pytest.mark.parametrize(
    ("request_line", "error", "message"),
    [
        ("DELETE /cache/clear", "LMCache API is unavailable", "LMCache engine not configured."),
        ("POST /cache/store", "LMCache API is unavailable", "LMCache engine not configured."),
        ("POST /cache/retrieve", "LMCache API is unavailable", "LMCache engine not configured."),
        ("PUT /freeze/enable", "/freeze/enable API is unavailable", "LMCache engine not configured."),
        ("PUT /freeze/disable", "/freeze/disable API is unavailable", "LMCache engine not configured."),
        ("GET /freeze/status", "/freeze/status API is unavailable", "LMCache engine not configured."),
        ("PUT /hot_cache/enable", "hot_cache API is unavailable", "LMCache engine not configured."),
        ("PUT /hot_cache/disable", "hot_cache API is unavailable", "LMCache engine not configured."),
        ("GET /hot_cache/status", "hot_cache API is unavailable", "LMCache engine not configured."),
        ("GET /bypass/list", "Bypass API is unavailable", "LMCache engine not configured."),
        ("PUT /bypass/add", "Bypass API is unavailable", "LMCache engine not configured."),
        ("PUT /bypass/remove", "Bypass API is unavailable", "LMCache engine not configured."),
        ("GET /backends", "/backends API is unavailable", "LMCache engine not configured."),
        ("POST /backends", "/backends API is unavailable", "LMCache engine not configured."),
        ("DELETE /backends/a", "/backends API is unavailable", "LMCache engine not configured."),
        ("POST /backends/a/recreate", "/backends API is unavailable", "LMCache engine not configured."),
    ],
)
def test_a_scheduler_has_no_engine(roles: Roles, request_line: str, error: str, message: str) -> None:
    answer = roles.scheduler.ask(*request_line.split())
    assert (answer.status, answer.json()) == (503, {"error": error, "message": message})


def test_chunks_are_loaded_into_no_engine(roles: Roles) -> None:
    answer = roles.scheduler.ask("POST", "/cache/load-fs-chunks", {"config_path": "a.yaml"})
    error = "/cache/load-fs-chunks API is unavailable"
    assert (answer.status, answer.json()) == (503, {"error": error, "message": "LMCache engine not configured."})


def test_a_scheduler_has_no_kv_caches(roles: Roles) -> None:
    assert roles.scheduler.ask("GET", "/cache/kvcache/info").status == 404
    asked = roles.scheduler.value("POST", "/cache/kvcache/record_slot")
    assert asked == {"status": "success", "kvcache_check_log_enabled": False}
    answer = roles.scheduler.ask("POST", "/cache/kvcache/record_slot?enabled=true")
    assert (answer.status, answer.json()["error"]) == (500, "Failed to set record slot status")
