"""GET and HEAD change nothing, but for /loglevel as the contract has it (S53)."""

from __future__ import annotations

import logging
import re

import pytest

from lmcache_admin import create_app

ROUTES = [f"{entry.method} {entry.rule}" for entry in create_app(None).extensions["lmcache_admin"].routes.served]
READ = sorted({route for route in ROUTES if route.startswith("GET ")})
CHANGE = sorted(set(ROUTES) - set(READ))
#: Methods of the host that only tell something.
TELLS = re.compile(r"\w+\.(get_\w+|is_\w+|list_\w+)")
#: Headers by which other servers let a GET be something else.
OTHERWISE = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-Method")


@pytest.fixture
def host(serve, stand_in):
    """A server on the stand-in, what was asked of it, and the check that nothing was changed."""
    manager, calls = stand_in()
    running = serve(manager)
    before = dict(vars(manager.config))

    def unchanged():
        assert [call for call in calls if not TELLS.fullmatch(call)] == []
        assert vars(manager.config) == before
        assert [entry["route"] for entry in running.get("/audit").json()["entries"]] == []

    running.unchanged = unchanged
    return running


def path_of(route):
    return re.sub(r"<\w+>", "LocalCPUBackend", route.split(" ")[1])


def test_s53_no_get_changes_anything(host):
    for route in READ:
        answer = host.get(path_of(route))
        assert answer.status < 500 or "Controller manager" in answer.text, (route, answer.text)
    host.unchanged()


def test_s53_no_head_changes_anything(host):
    for route in ROUTES:
        answer = host.request("HEAD", path_of(route) + "?level=debug&logger_name=lmcache_admin.tests.head")
        assert (answer.status, answer.body) == (405, b""), route
    assert logging.getLogger("lmcache_admin.tests.head").level == logging.NOTSET
    host.unchanged()


@pytest.mark.parametrize("header", OTHERWISE)
def test_s53_no_header_makes_a_change_of_a_get(host, header):
    for route in CHANGE:
        method = route.split(" ")[0]
        answer = host.request("GET", f"{path_of(route)}?_method={method}", headers={header: method})
        assert answer.status in (200, 404, 405), (route, answer.text)
    host.unchanged()


def test_s53_only_loglevel_counts_a_get_as_a_change():
    declared = create_app(None).extensions["lmcache_admin"].routes.served
    assert [entry.rule for entry in declared if entry.declaration.changes_if] == ["/loglevel"]


@pytest.mark.parametrize("sender", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_s53_loglevel_is_not_changed_by_a_page(host, sender):
    name = "lmcache_admin.tests.page"
    answer = host.request("GET", f"/loglevel?logger_name={name}&level=debug", headers=sender)
    assert answer.status == 403
    assert logging.getLogger(name).level == logging.NOTSET
