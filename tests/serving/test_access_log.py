"""One line per request, without what a client may hide in it."""

from __future__ import annotations

import logging
from typing import Any

import pytest


def echo(environ: Any) -> bytes:
    return environ["PATH_INFO"].encode()


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.INFO, "lmcache_admin.access")
    return lambda: [r.getMessage() for r in caplog.records if r.name == "lmcache_admin.access"]


def test_line_names_method_path_status_size_time_and_lane(serve, page, lines, until):
    site = serve({"/read": page(echo)})
    site.get("/read?token=secret")
    until(lines)
    assert lines()[0].startswith("GET '/read' 200 5 bytes ")
    assert lines()[0].endswith(" ms lane=read")
    assert "secret" not in lines()[0]


def test_line_end_in_a_path_stays_escaped(serve, page, lines, until):
    site = serve({})
    site.get("/a%0d%0aforged%1b")
    until(lines)
    assert len(lines()) == 1
    assert r"'/a\r\nforged\x1b'" in lines()[0]


def test_refused_and_broken_requests_have_their_line(serve, page, lines, until, release):
    site = serve({"/hang": page(lambda _: release.wait() and b"")}, deadlines={"read": 0.2})
    site.raw(b"nonsense\r\n\r\n")
    site.get("/hang")
    until(lambda: len(lines()) == 2)
    assert " 400 " in lines()[0]
    assert lines()[1].startswith("GET '/hang' 504 ")


def test_nothing_is_logged_when_switched_off(serve, page, lines):
    site = serve({"/read": page(echo)}, access_log=False)
    site.get("/read")
    site.server.stop()
    assert lines() == []
