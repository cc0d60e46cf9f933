"""From a lookup over the socket to the figures over HTTP, with scheduler and worker in one process as in `serve`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

A, B = list(range(48)), list(range(1000, 1040))


@pytest.fixture(name="pair")
def pair_fixture(serve: Callable[..., Any], tmp_path: Path) -> tuple[Any, Any]:
    """Scheduler and worker of one instance."""
    keys = {
        "lmcache_instance_id": f"pair-{tmp_path}",
        "enable_chunk_statistics": True,
        "chunk_statistics_auto_exit_target_unique_chunks": 1000,
    }
    return serve(role="scheduler", **keys), serve(role="worker", **keys)


def test_lookups_are_counted_and_shown(pair: tuple[Any, Any]) -> None:
    scheduler, worker = pair
    assert worker.post("/cache/store?tokens_mock=0,48").json()["num_tokens"] == 48
    assert scheduler.post("/chunk_statistics/start").json() == {"status": "success", "message": "Started"}
    client = scheduler.manager.lookup_client
    assert [client.lookup(tokens, name) for name, tokens in {"1": A, "2": A, "3": B}.items()] == [48, 48, 0]
    status = scheduler.get("/chunk_statistics/status").json()
    assert (status["enabled"], status["total_requests"]) == (True, 3)
    assert (status["total_chunks"], status["unique_chunks"], status["duplicate_chunks"]) == (9, 6, 3)
    assert status["reuse_rate"] == 3 / 9
    assert status["auto_exit_enabled"] is True
    assert scheduler.post("/chunk_statistics/reset").json() == {"status": "success", "message": "Reset"}
    assert scheduler.get("/chunk_statistics/status").json()["total_chunks"] == 0
    assert scheduler.post("/chunk_statistics/stop").json() == {"status": "success", "message": "Stopped"}
    assert scheduler.get("/chunk_statistics/status").json()["enabled"] is False


def test_the_lookup_parts_are_shown_closed_and_made_again(pair: tuple[Any, Any]) -> None:
    scheduler, worker = pair
    name = "ChunkStatisticsLookupClient(LookupClient)"
    assert scheduler.get("/lookup/info").json() == {"client": name, "server": "None"}
    assert worker.get("/lookup/info").json() == {"client": "None", "server": "LookupServer"}
    assert scheduler.post("/lookup/create?dryrun=true").json() == {"new": name, "dryrun": True, "role": "scheduler"}
    recreated = {"old": "LookupServer", "new": "LookupServer", "role": "worker"}
    assert worker.post("/lookup/recreate").json() == recreated
    worker.post("/cache/store?tokens_mock=0,48")
    assert scheduler.manager.lookup_client.lookup(A, "1") == 48
    assert worker.post("/lookup/close").json() == {"old": "LookupServer", "role": "worker"}
    assert worker.post("/lookup/recreate").status == 400
    assert scheduler.manager.lookup_client.lookup(A, "2") == 0
    assert worker.post("/lookup/create").json() == {"new": "LookupServer", "role": "worker"}
    assert scheduler.manager.lookup_client.lookup(A, "3") == 48
