"""A host that hangs, raises or answers anything: told with the operation's name, as JSON, and nothing else suffers."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from lmcache_admin import create_app

SERVICE = create_app(None).extensions["lmcache_admin"]
ROUTES = {
    route: entry.declaration
    for loaded in SERVICE.loader.files
    if loaded.category == "vllm"
    for route in loaded.routes
    for entry in SERVICE.routes.served
    if route == f"{entry.method} {entry.rule}"
}
#: What is answered without a method of the host.
WITHOUT_METHODS = (
    *("GET /version", "GET /lmc_version", "GET /commit_id", "GET /conf", "POST /conf", "GET /meta"),
    "POST /cache/kvcache/record_slot",
)
#: What a failure is called where the contract does not name the operation.
OTHER_WORDS = {"POST /cache/load-fs-chunks": "Failed to initialize RemoteBackend"}
#: What goes on as a job that can be asked for.
JOBS = ("DELETE /cache/clear", "POST /backends/<name>/recreate", "POST /cache/load-fs-chunks")
SHORT = {"read": 1.5, "change": 1.5, "job": 1.5}
MIB = 1024 * 1024


class Unprintable:
    """A value whose every text fails."""

    def __repr__(self):
        raise RuntimeError("no text for this")

    __str__ = __repr__


class OddError(BaseException):
    """An exception of the host's own, which nobody knows, and whose text fails."""

    def __str__(self):
        raise RuntimeError("no text for this")


class Hanging:
    """A layer whose shape is not told."""

    def __init__(self, act):
        self._act = act

    @property
    def shape(self):
        return self._act()


def cycle():
    circle: dict[str, Any] = {}
    circle["again"] = circle
    return circle


def deep():
    nested: list[Any] = []
    for _ in range(5000):
        nested = [nested]
    return nested


JUNK = {
    "None": lambda: None,
    "bytes": lambda: b"\xff\x00",
    "a number": lambda: 5,
    "NaN": lambda: float("nan"),
    "a cycle": cycle,
    "an object": object,
    "an unprintable object": Unprintable,
    "unprintable keys": lambda: {Unprintable(): 1},
    "NaN within": lambda: {"client": float("nan"), "enabled": [float("inf")]},
    "bytes within": lambda: {"client": b"\xff", "old": b"\xff", "new": b"\xff"},
    "deep": lambda: {"client": deep(), "enabled": deep()},
    "lone surrogates": lambda: {"client": "\udcff", "\udcff": "x", "LocalCPUBackend": "\udcff"},
    "no text": lambda: "\udcff",
}
RAISED = [
    ValueError("the pool is gone"),
    OddError(),
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    StopIteration(),
    MemoryError(),
    RecursionError("deep"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"),
]


def bend(manager, act, value=None):
    """Let every method of a stand-in do `act`, and every fact about it be `value`."""
    engine = manager.lmcache_engine
    for part in (manager, engine, engine.storage_manager, manager.lookup_client):
        for name in dir(type(part)):
            if not name.startswith("__") and callable(getattr(part, name)):
                setattr(part, name, lambda *_, **__: act())
    manager.config.odd = manager.lmcache_engine_metadata.odd = value
    manager.kv_caches = {"layer": value}
    return manager


def strictly(text: bytes) -> Any:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def told(answer, declaration):
    """What the client reads; text leaves a text route as a success only."""
    if answer.type == "application/json":
        return strictly(answer.body)
    assert (answer.status, declaration.style) in ((200, "text"), (200, "pretty_text")), answer.text[:300]
    return answer.text


#: What a failure of the host may be: refused by it, absent, failed, not offered, a bad answer, unavailable.
STATUSES = (200, 400, 404, 500, 501, 502, 503)


@pytest.mark.parametrize("route", ROUTES)
def test_s52_s71_whatever_the_host_raises_is_a_failure_with_the_operations_name(serve, stand_in, ask, route):
    def act():
        raise error

    running = serve(bend(stand_in()[0], act))
    for error in RAISED:
        answer = ask(running, route)
        body = told(answer, ROUTES[route])
        assert answer.status in STATUSES, (error, answer.text)
        if answer.status >= 500:
            assert isinstance(body, dict), (error, answer.text)
            said = body.get("error") or body["detail"]
            names = (ROUTES[route].operation, route.split(" ")[1], OTHER_WORDS.get(route, ""))
            assert any(name and name in said for name in names), (error, answer.text)
    assert running.get("/healthz").status == 200


@pytest.mark.parametrize("route", ROUTES)
def test_s71_whatever_the_host_answers_leaves_as_json(serve, stand_in, ask, route):
    manager, _ = stand_in()
    running = serve(manager)
    for name, make in JUNK.items():
        bend(manager, make, make())
        answer = ask(running, route)
        told(answer, ROUTES[route])
        assert answer.status in STATUSES, (name, answer.text)
    assert running.get("/healthz").status == 200


@pytest.fixture
def hanging():
    """What every method of the host does until the end of the test."""
    event = threading.Event()
    yield event.wait
    event.set()


@pytest.mark.parametrize("route", ROUTES)
def test_s47_s71_host_that_hangs_is_504_with_the_operations_name(serve, stand_in, ask, hanging, route):
    manager, _ = stand_in()
    manager.config.extra_config["internal_api_server_deadlines"] = SHORT
    running = serve(bend(manager, hanging, Hanging(hanging)))
    answer = ask(running, route)
    body = told(answer, ROUTES[route])
    if route not in WITHOUT_METHODS:
        assert (answer.status, body["error"]) == (504, f"Timed out: {ROUTES[route].operation}")
    if route in JOBS:
        assert answer.headers["Location"] == f"/jobs/{body['job']}"
        assert running.get(f"/jobs/{body['job']}").json()["state"] == "running"
    for path in ("/healthz", "/version", "/metrics"):
        assert running.get(path).status == 200


LARGE = {
    "GET /lookup/info": lambda: {"client": "x" * (70 * MIB)},
    "GET /backends": lambda: {f"backend {number}": "x" * MIB for number in range(70)},
    "GET /inference_info": lambda: {"layers": [10**18] * (4 * MIB)},
    "GET /chunk_statistics/status": lambda: {"enabled": ["x" * MIB] * 70},
}


@pytest.mark.parametrize("route", LARGE)
def test_s71_answer_of_more_than_64_mib_is_a_failure(serve, stand_in, ask, route):
    manager, _ = stand_in()
    manager.config.extra_config["internal_api_server_deadlines"] = {"read": 3.0, "job": 3.0}
    running = serve(bend(manager, LARGE[route]))
    answer = ask(running, route)
    assert answer.status in (500, 504), answer.text[:300]
    assert ROUTES[route].operation in answer.json()["error"]
    for path in ("/healthz", "/version"):
        assert running.get(path).status == 200
