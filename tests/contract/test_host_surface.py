"""The table of docs/embedding.md, checked both ways: without a member, its endpoints fail, and no other does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from lmcache_admin import create_app

PAGE = (Path(__file__).parents[2] / "docs" / "embedding.md").read_text()
SERVICE = create_app(None).extensions["lmcache_admin"]
ROUTES = [route for loaded in SERVICE.loader.files if loaded.category == "vllm" for route in loaded.routes]
#: Members of the stand-in that no endpoint of the table asks for.
ELSEWHERE = {
    "engine.config",
    "engine.metadata",
    "manager.lookup_server",
    "storage.allocator_backend",
    "storage.loop",
}
#: Answers that LMCache fixes otherwise: (route, member) -> status, text.
LETTER = {
    ("GET /inference_info", "manager.get_inference_info"): (500, "no attribute 'get_inference_info'"),
    ("GET /inference_version", "manager.get_inference_version"): (500, "no attribute 'get_inference_version'"),
    ("GET /cache/kvcache/info", "manager.kv_caches"): (404, "kv_caches not available"),
    ("GET /cache/kvcache/check", "manager.kv_caches"): (500, "no attribute 'kv_caches'"),
    ("/lookup/", "manager.lmcache_engine_metadata"): (400, "Unknown role"),
    ("/lookup/", ""): (503, "API unavailable"),
    ("/chunk_statistics/", "statistics."): (400, "Client does not support statistics."),
    ("", "manager.lookup_client"): (503, "Lookup client not configured."),
    ("/record_slot", "manager.lmcache_engine"): (501, "lmcache_engine"),
    ("", "manager.lmcache_engine"): (503, "LMCache engine not configured."),
}


def column(text: str) -> set[str]:
    return set(re.findall(r"`(\w+\.\w+)`", text))


def rows() -> dict[str, tuple[set[str], set[str]]]:
    """Route -> members that it needs, members that it uses where they are there."""
    found = {}
    part = PAGE[PAGE.index("| endpoint | needs |") :].partition("\n\n")[0]
    for first, more, needs, uses in re.findall(ROW, part, re.MULTILINE):
        method = first.split(" ")[0]
        for route in [first, *(f"{method} {path}" for path in re.findall(r"`(/\S+)`", more))]:
            assert route not in found, f"{route} stands there twice"
            found[route] = column(needs), column(uses)
    return found


ROW = r"^\| `((?:GET|POST|PUT|DELETE) /\S*)`((?:, `/\S+`)*) \|([^|]*)\|([^|]*)\|$"
TABLE = rows()
MEMBERS = sorted(set().union(*(needs | uses for needs, uses in TABLE.values())))


def expected(route: str, member: str) -> tuple[int, str]:
    """Status and text of a route without a member that it needs."""
    for (part, owner), answer in LETTER.items():
        if part in route and member.startswith(owner):
            return answer
    return 501, f'"missing":"{member.partition(".")[2]}"'


def test_every_route_has_its_row():
    assert sorted(TABLE) == sorted(ROUTES)


def test_the_contracts_answers_are_listed_for_every_route():
    listed = yaml.safe_load((Path(__file__).parent / "statuses.yaml").read_text())
    assert sorted(listed) == sorted(ROUTES)


def test_every_member_of_a_whole_host_stands_in_the_table(stand_in):
    manager, _ = stand_in()
    engine, client = manager.lmcache_engine, manager.lookup_client
    parts = {"manager": manager, "engine": engine, "storage": engine.storage_manager, "statistics": client}
    there = {f"{owner}.{name}" for owner, part in parts.items() for name in dir(part) if not name.startswith("_")}
    assert there == set(MEMBERS) | ELSEWHERE


@pytest.mark.parametrize("role", ["worker", "scheduler"])
def test_a_whole_host_has_every_endpoint(serve, stand_in, ask, role):
    running = serve(stand_in(role=role)[0])
    assert {route: ask(running, route).status for route in ROUTES} == dict.fromkeys(ROUTES, 200)


ROLES = [(member, "worker") for member in MEMBERS]
ROLES += [(member.replace("_server", "_client"), "scheduler") for member in MEMBERS if "lookup" in member]


@pytest.mark.parametrize(("member", "role"), ROLES)
def test_without_a_member_exactly_the_routes_of_the_table_fail(serve, stand_in, ask, member, role):
    running = serve(stand_in(member, role=role)[0])
    for route in ROUTES:
        needs, _ = TABLE[route]
        answer = ask(running, route)
        assert "Traceback" not in answer.text
        status, text = expected(route, member) if {member, member.replace("_client", "_server")} & needs else (200, "")
        assert (route, answer.status) == (route, status), answer.text
        assert text in re.sub(r'": "', '":"', answer.text), route


class PassingOn:
    """A part of a host that leaves everything to another."""

    def __init__(self, other):
        self._other = other

    def __getattr__(self, name):
        return getattr(self._other, name)


def test_a_host_that_passes_calls_on_lacks_what_the_other_lacks(serve, stand_in):
    manager, _ = stand_in("engine.freeze")
    running = serve(PassingOn(manager))
    manager.lmcache_engine = PassingOn(manager.lmcache_engine)
    answer = running.put("/freeze/enable")
    assert (answer.status, answer.json()["missing"]) == (501, "freeze")
    assert running.get("/freeze/status").status == 200


def test_a_fault_inside_the_host_is_no_lack(serve, stand_in):
    manager, _ = stand_in()
    manager.lmcache_engine.freeze = lambda enabled: manager.no_such_thing
    answer = serve(manager).put("/freeze/enable")
    assert (answer.status, answer.json()["error"]) == (500, "Failed to enable freeze mode")
    assert "no_such_thing" in answer.json()["message"]
    assert "missing" not in answer.json()
