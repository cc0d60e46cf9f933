"""Quick calls are answered by the loop's thread; one that lasts costs that thread, not the server."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from lmcache_admin.serving.poller import KeptPoll
from lmcache_admin.serving.server import HTTPServer


def thread_name(_environ: Any) -> bytes:
    return threading.current_thread().name.encode()


def quickly(_environ: Any) -> bytes:
    return b"done"


def test_quick_call_is_answered_by_the_thread_of_the_loop(serve, page, until):
    site = serve({"/quick": page(thread_name, quick=True), "/read": page(thread_name)})
    until(lambda: site.get("/quick").body == b"api-server-thread")
    assert site.get("/read").body.startswith(b"lmcache-admin-read-")
    loop = next(thread for thread in threading.enumerate() if thread.name == "api-server-thread")
    assert loop.daemon


def test_quick_call_that_hangs_does_not_stop_the_loop(serve, page, release, until):
    def hang(_environ: Any) -> bytes:
        release.wait()
        return b"late"

    site = serve({"/hang": page(hang, quick=True), "/quick": page(thread_name, quick=True)}, deadlines={"read": 60})
    answers = site.ask("/hang")
    until(lambda: site.lane("read").busy == 1)
    until(lambda: site.get("/quick").body == b"api-server-thread")
    assert len([thread for thread in threading.enumerate() if thread.name == "api-server-thread"]) == 1
    release.set()
    until(lambda: answers)
    assert answers[0].body == b"late"


def test_hanging_quick_call_counts_against_its_route_and_deadline(serve, page, release, until):
    def hang(_environ: Any) -> bytes:
        release.wait()
        return b"late"

    site = serve({"/hang": page(hang, quick=True), "/quick": page(quickly, quick=True)}, deadlines={"read": 1.0})
    answers = site.ask("/hang", times=12)
    until(lambda: site.lane("read").busy + site.lane("read").stuck == 4)
    assert site.get("/quick").body == b"done"
    until(lambda: len(answers) == 12)
    assert sorted(answer.status for answer in answers) == [503] * 8 + [504] * 4
    assert site.get("/quick").body == b"done"


def test_many_routes_whose_quick_calls_hang_leave_the_loop_running(serve, page, release, until):
    def hang(_environ: Any) -> bytes:
        release.wait()
        return b"late"

    pages = {f"/{number}": page(hang, quick=True) for number in range(20)}
    site = serve({**pages, "/quick": page(quickly, quick=True)}, deadlines={"read": 60})
    answers = [site.ask(path) for path in pages]
    until(lambda: site.lane("read").busy == 20)
    assert site.get("/quick").body == b"done"
    release.set()
    until(lambda: all(answers))
    assert {answer[0].body for answer in answers} == {b"late"}


def test_route_that_held_the_loop_goes_to_threads_until_it_is_quick_again(serve, page, release, until):
    names: list[str] = []

    def view(_environ: Any) -> bytes:
        names.append(threading.current_thread().name)
        if len(names) == 1:
            release.wait()
        return b"done"

    site = serve({"/view": page(view, quick=True)}, deadlines={"read": 60})
    answers = site.ask("/view")
    until(lambda: site.lane("read").busy == 1)
    release.set()
    until(lambda: answers)
    until(lambda: site.get("/view").status == 200 and names[-1] == "api-server-thread")
    assert names[1].startswith("lmcache-admin-read-")


def test_route_that_holds_the_loop_warns_once_a_minute(serve, page, release, until, caplog):
    def view(environ: Any) -> bytes:
        if environ["QUERY_STRING"]:
            release.wait()
        return b"done"

    def levels(path: str) -> list[str]:
        return [r.levelname for r in caplog.records if r.getMessage().startswith(f"GET {path} held the loop")]

    caplog.set_level(logging.DEBUG, "lmcache_admin.serving.watch")
    site = serve({path: page(view, quick=True) for path in ("/a", "/b")}, deadlines={"read": 60})
    expected = {"/a": ["WARNING", "DEBUG", "WARNING"], "/b": ["WARNING"]}
    for number in range(3):
        use = site.server.lanes.use(site.server._classify("GET", "/a"))
        use.slow = False  # as after a call of it that was quick
        if number == 2:
            use.warned_at -= 60  # as a minute later
        site.ask("/a?hang")
        until(lambda number=number: levels("/a") == expected["/a"][: number + 1])
    site.ask("/b?hang")
    until(lambda: levels("/b") == expected["/b"])
    assert levels("/a") == expected["/a"]


def test_former_thread_of_the_loop_ends_with_its_call(serve, page, release, until):
    former: list[threading.Thread] = []

    def view(_environ: Any) -> bytes:
        former.append(threading.current_thread())
        release.wait()
        return b"done"

    site = serve({"/view": page(view, quick=True)}, deadlines={"read": 60})
    site.ask("/view")
    until(lambda: site.lane("read").busy == 1)
    assert former[0].name != "api-server-thread"
    release.set()
    former[0].join(20)
    assert not former[0].is_alive()


def test_spare_thread_parks_when_no_quick_call_comes(serve, page, until):
    site = serve({"/quick": page(quickly, quick=True)})
    site.get("/quick")
    spare = site.server._loop.front.watch  # what it costs when idle cannot be seen from outside
    until(lambda: spare.parked)
    site.get("/quick")
    assert not spare.parked
    until(lambda: spare.parked)


def test_quick_call_of_another_connection_is_answered_after_a_hanging_one(serve, page, release, until):
    def hang(_environ: Any) -> bytes:
        release.wait()
        return b"late"

    site = serve({"/hang": page(hang, quick=True), "/quick": page(quickly, quick=True)}, deadlines={"read": 60})
    with site.connect() as one, site.connect() as two:
        one.sendall(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        two.sendall(b"GET /quick HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = b""
        while part := two.recv(4096):
            received += part
        assert received.endswith(b"done")
        release.set()
        assert one.recv(4096).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("raised", [SystemExit, KeyboardInterrupt, GeneratorExit, ValueError, MemoryError])
@pytest.mark.parametrize("quick", [True, False])
def test_s52_whatever_a_view_raises_is_a_500_and_the_server_goes_on(serve, page, raised, quick):
    def fail(_environ: Any) -> bytes:
        raise raised("secret")

    site = serve({"/fail": page(fail, quick=quick), "/quick": page(quickly, quick=True)})
    received = site.raw(b"GET /fail HTTP/1.1\r\nHost: x\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 500 ")
    assert b'"error": "Failed to ask for /fail"' in received
    assert b"secret" not in received
    assert site.get("/quick").body == b"done"
    assert site.lane("read").threads == 8


def test_request_that_cannot_be_classed_is_still_answered(serve, page):
    site = serve({"/": page(quickly)})

    def classify(_method: str, _path: str) -> Any:
        raise KeyError("no table")

    site.server.stop()
    server = HTTPServer(site.server._application, classify, site.server.options)
    site.server = server
    server.start()
    assert site.get("/").body == b"done"


def test_system_without_epoll_is_served_by_poll(serve, page, monkeypatch, release, until):
    # the only way to see the fallback of macOS and BSD on a system that has epoll
    monkeypatch.setattr("lmcache_admin.serving.loop.new_poller", KeptPoll)

    def hang(_environ: Any) -> bytes:
        release.wait()
        return b"late"

    pages = {"/hang": page(hang, quick=True), "/quick": page(quickly, quick=True), "/read": page(quickly)}
    site = serve(pages, deadlines={"read": 60})
    answers = site.ask("/hang")
    until(lambda: site.lane("read").busy == 1)
    sent = b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\nGET /read HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert site.raw(sent).count(b"done") == 2
    release.set()
    until(lambda: answers)
    assert answers[0].body == b"late"
