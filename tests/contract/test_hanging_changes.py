"""All changes hang for ever: health, reads and metrics are served, further changes are refused at once (S45)."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from typing import Any

import pytest

CHANGES = ("PUT /freeze/enable", "PUT /hot_cache/disable", "PUT /bypass/add", "POST /lookup/close", "POST /backends")
READS = ("/healthz", "/readyz", "/metrics", "/version", "/conf", "/freeze/status", "/backends", "/bypass/list", "/jobs")


@pytest.fixture
def hanging(serve: Any, stand_in: Any, ask: Any, eventually: Any) -> Iterator[Any]:
    """A server whose host never comes back from a change, and so many begun as the lane takes."""
    manager, _ = stand_in()
    release = threading.Event()
    engine = manager.lmcache_engine
    for part, name in (
        (engine, "freeze"),
        (engine, "set_hot_cache"),
        (engine.storage_manager, "set_backend_bypass"),
        (engine.storage_manager, "create_backends"),
        (manager, "close_lookup_server"),
    ):
        setattr(part, name, lambda *_, **__: release.wait())
    running = serve(manager)
    clients = [threading.Thread(target=attempt, args=(ask, running, route)) for route in CHANGES * 8]
    for client in clients:
        client.start()
    lane = running.server.server.lanes.counters
    eventually(lambda: (lane()["change"].busy, lane()["change"].queued + lane()["change"].rejected) == (4, 36))
    yield running
    release.set()
    for client in clients:
        client.join()


def attempt(ask: Any, running: Any, route: str) -> None:
    try:
        ask(running, route)
    except (OSError, http.client.HTTPException):  # the server stops before it has an answer
        return


def test_s45_what_reads_is_served(hanging):
    for path in READS * 3:
        assert hanging.get(path).status == 200


def test_s45_further_change_is_refused_at_once_with_its_lane(hanging, ask):
    answer = ask(hanging, "PUT /freeze/enable")
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.json()["error"] == "Not served: enable freeze mode"
    assert "lane change: 4 threads, 16 waiting" in answer.json()["message"]


def test_s45_jobs_are_done(hanging):
    assert hanging.delete("/cache/clear").status == 200
