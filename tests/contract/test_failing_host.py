"""A host whose every method raises, and one that is not there: the contract's words, and the process goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lmcache_admin import create_app
from lmcache_admin.settings import Settings

STATUSES = yaml.safe_load((Path(__file__).parent / "statuses.yaml").read_text())
#: It opens a store of its own before it calls anything: its failures are in its own tests.
LOADS = "POST /cache/load-fs-chunks"
FAILURES = [
    (route, str(answer).partition(" ")[2])
    for route, answers in STATUSES.items()
    for answer in answers
    if str(answer).startswith("500") and route != LOADS
]
WITHOUT_MANAGER = [
    route for route, answers in STATUSES.items() for answer in answers if answer == "503 LMCache adapter unavailable"
]


@pytest.mark.parametrize(("route", "error"), FAILURES)
def test_a_method_that_raises_is_500_with_what_failed_and_why(serve, stand_in, ask, route, error):
    running = serve(stand_in(failing=True)[0])
    answer = ask(running, route)
    assert answer.status == 500, answer.text
    told = answer.json()
    assert told["error"].startswith(error)
    assert told["message"].startswith(("boom: ", "'object' object has no attribute"))
    assert running.get("/healthz").status == 200


@pytest.mark.parametrize("route", WITHOUT_MANAGER)
def test_without_a_manager_it_is_503(route):
    method, path = route.split(" ")
    answer = create_app(None, Settings(auth="off")).test_client().open(path, method=method)
    assert (answer.status_code, answer.json) == (
        503,
        {"error": "LMCache adapter unavailable", "message": "LMCache adapter not configured."},
    )


def test_loading_that_fails_in_another_way_names_its_file(serve, stand_in, ask, tmp_path):
    manager, _ = stand_in()
    manager.lmcache_engine.is_hot_cache_enabled = lambda: 1 / 0
    answer = ask(serve(manager), LOADS)
    assert (answer.status, answer.json()) == (
        500,
        {
            "error": "Failed to load chunks from FSConnector",
            "message": "division by zero",
            "config_path": str(tmp_path / "store.yaml"),
        },
    )


@pytest.mark.parametrize("why", ["metadata not available", "engine not available"])
@pytest.mark.parametrize("verb", ["create", "recreate"])
def test_what_the_host_cannot_make_is_400_in_its_words(serve, stand_in, verb, why):
    manager, _ = stand_in()
    setattr(manager, f"{verb}_lookup_server", lambda dryrun=False: {"error": why})
    answer = serve(manager).post(f"/lookup/{verb}")
    assert (answer.status, answer.json()) == (400, {"error": why, "role": "worker"})
