"""Threads that die: noticed, replaced, counted; nothing that they had in hand is left without an answer."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from lmcache_admin.deaths import Deaths
from lmcache_admin.serving.loop import Loop

# pytest takes note of each thread that ends by an exception, which is what is tested here
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

GET = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"


def echo(environ: Any) -> bytes:
    return environ["PATH_INFO"].encode()


def rests(thread: threading.Thread) -> bool:
    """Whether a lane's thread waits for a call."""
    return sys._current_frames()[thread.ident or 0].f_code.co_name == "run"


def named(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(name)]


@pytest.fixture
def killed(kill: Any, until: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`killed(name)`: the thread of that name is dead."""

    def end(name: str) -> None:
        (thread,) = named(name)
        kill(thread)
        until(lambda: not thread.is_alive())

    def raise_again(_loop: Loop) -> None:
        raise SystemExit

    # the loop survives what a turn raises; what kills it has to come while it deals with that
    monkeypatch.setattr(Loop, "_log_failure", raise_again)
    return end


def deaths(site: Any) -> dict[str, int]:
    """Kinds of which a thread has died."""
    return {kind: count for kind, count in site.server.options.deaths.counts().items() if count}


def test_s68_lane_thread_that_dies_is_replaced_and_its_call_answered(serve, page, until, kill):
    site = serve({"/view": page(echo, lane="change")}, lane_threads={"change": 1})
    assert site.get("/view").status == 200
    (thread,) = named("lmcache-admin-change-")
    until(lambda: site.lane("change").busy == 0 and rests(thread))
    kill(thread)  # it dies when it is woken, with the call that it was handed
    answer = site.get("/view")
    assert (answer.status, answer.json["error"]) == (500, "Failed to ask for /view")
    assert answer.json["message"] == "GET /view ended with the death of its thread"
    until(lambda: site.get("/view").status == 200)
    until(lambda: site.lane("change").busy == 0)
    assert (site.lane("change").threads, site.lane("change").queued) == (1, 0)
    assert deaths(site) == {"change": 1}
    assert not thread.is_alive()
    troubles = site.server.options.deaths.troubles
    until(lambda: "another took its place" in troubles()["thread change"])


def test_s68_all_threads_of_a_lane_may_die_at_once(serve, page, until, kill):
    site = serve({"/view": page(echo), "/other": page(echo, lane="change")}, lane_threads={"read": 6})
    for thread in named("lmcache-admin-read-"):
        until(lambda thread=thread: rests(thread))
        kill(thread)
    answers = site.ask("/view", times=6)
    assert site.get("/other").body == b"/other"
    until(lambda: len(answers) == 6)
    assert {answer.status for answer in answers} <= {200, 500}
    until(lambda: site.lane("read").threads == 6)
    assert site.get("/view").body == b"/view"
    assert 3 <= deaths(site)["read"] <= 6  # one route has half of the threads; another is woken as one is free
    until(lambda: site.lane("read").busy == 0)


def test_s68_exception_within_a_call_costs_the_call_and_not_the_thread(serve, page, until, kill):
    entered = threading.Event()

    def spin(_environ: Any) -> bytes:
        entered.set()
        while True:
            time.sleep(0.001)

    site = serve({"/spin": page(spin, lane="change")}, lane_threads={"change": 1}, deadlines={"change": 60})
    answers = site.ask("/spin")
    assert entered.wait(20)
    (thread,) = named("lmcache-admin-change-")
    kill(thread)
    until(lambda: answers)
    assert (answers[0].status, answers[0].json["message"]) == (500, "GET /spin ended with SystemExit")
    assert thread.is_alive()
    assert deaths(site) == {}


def test_s68_loop_whose_thread_dies_goes_on_with_every_connection(serve, page, until, killed, release):
    def hang(_environ: Any) -> bytes:
        release.wait()
        return b"in time"

    pages = {"/quick": page(echo, quick=True), "/read": page(echo), "/hang": page(hang)}
    site = serve(pages, deadlines={"read": 60})
    running = site.ask("/hang")
    until(lambda: site.lane("read").busy == 1)
    with site.connect() as idle, site.connect() as half:
        idle.sendall(GET % b"/quick")
        assert idle.recv(4096).endswith(b"/quick")
        half.sendall(b"GET /read HT")
        until(lambda: len(site.server._loop.map) == 3)
        until(lambda: site.server._loop.front.watch.parked)  # the loop has nothing in hand
        killed("api-server-thread")
        waiting = site.ask("/quick", times=4)  # they come while nobody has the loop
        half.sendall(b"TP/1.1\r\nHost: x\r\n\r\n")
        assert half.recv(4096).endswith(b"/read")
        idle.sendall(GET % b"/quick")
        assert idle.recv(4096).endswith(b"/quick")
    until(lambda: len(waiting) == 4)
    release.set()
    until(lambda: running)
    assert running[0].body == b"in time"
    assert deaths(site) == {"loop": 1}
    assert len(named("api-server-thread")) == 1
    until(lambda: len(named("lmcache-admin-spare")) == 1)


def test_s68_connection_that_a_dead_thread_of_the_loop_had_in_hand_is_answered(serve, page, until, monkeypatch, killed):
    # a death between taking a request out and answering it is a matter of microseconds: here it waits for the kill
    classed = threading.Event()

    def view(_environ: Any) -> bytes:
        raise AssertionError("nobody begins it")

    site = serve({"/view": page(view), "/other": page(echo)})
    submit = site.server._loop.front._submit

    def slow_submit(call: Any) -> None:
        if call.route.name != "GET /view":
            submit(call)
            return
        classed.set()
        while True:
            time.sleep(0.001)

    monkeypatch.setattr(site.server._loop.front, "_submit", slow_submit)
    answers = site.ask("/view")
    assert classed.wait(20)
    killed("api-server-thread")
    until(lambda: answers)
    assert answers[0].json["message"] == "GET /view ended with the death of its thread"
    assert site.get("/other").body == b"/other"


def test_s68_loop_without_a_connection_is_watched_too(serve, page, until, killed):
    site = serve({"/read": page(echo)})
    until(lambda: site.server._loop.front.watch.parked)
    killed("api-server-thread")
    until(lambda: deaths(site) == {"loop": 1})
    assert site.get("/read").body == b"/read"


def test_s68_spare_thread_that_dies_is_replaced(serve, page, until, killed, release):
    def hang(_environ: Any) -> bytes:
        release.wait()
        return b"late"

    site = serve({"/hang": page(hang, quick=True), "/quick": page(echo, quick=True)}, deadlines={"read": 60})
    killed("lmcache-admin-spare")
    until(lambda: named("lmcache-admin-spare"))
    site.ask("/hang")
    until(lambda: site.lane("read").busy == 1)  # the new one has taken the loop over
    assert site.get("/quick").body == b"/quick"
    assert deaths(site) == {"spare": 1}


def test_s68_a_dead_thread_is_replaced_when_the_machine_has_one_again(serve, page, until, monkeypatch, kill):
    # a limit for threads does not bind root, so the refusal of the system is played
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    site = serve({"/view": page(echo, lane="change"), "/read": page(echo)}, lane_threads={"change": 1})
    troubles = site.server.options.deaths.troubles
    (thread,) = named("lmcache-admin-change-")
    until(lambda: rests(thread))
    kill(thread)
    with site.connect() as sock, site.connect() as other, monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        sock.sendall(GET % b"/view")
        assert sock.recv(4096).startswith(b"HTTP/1.1 500 ")
        until(lambda: "not replaced yet" in troubles().get("thread change", ""))
        other.sendall(GET % b"/read")
        assert other.recv(4096).endswith(b"/read")
    until(lambda: site.lane("change").threads == 1)
    assert site.get("/view").body == b"/view"
    until(lambda: "another took its place" in troubles()["thread change"])


def test_s68_what_is_to_be_looked_after_is_called_again_and_again_whatever_it_raises(serve, page, until):
    calls: list[str] = []

    def look() -> None:
        calls.append(threading.current_thread().name)
        raise ValueError("not now")

    site = serve({"/read": page(echo)}, look_after=look)
    until(lambda: len(calls) >= 2)
    assert set(calls) == {"lmcache-admin-spare"}
    assert site.get("/read").body == b"/read"


def test_s68_death_is_no_trouble_any_more_after_a_while(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("lmcache_admin.deaths.time.monotonic", lambda: now[0])  # nobody wants to wait a minute
    found = Deaths("loop")
    found.note("read")
    assert list(found.troubles()) == ["thread read"]
    now[0] = 1000.0
    assert "not replaced yet" in found.troubles()["thread read"]
    found.replaced("read")
    assert found.troubles() == {}
    assert found.counts() == {"loop": 0, "read": 1}


def test_s68_recovery_passes_over_a_connection_that_fails(serve, page, until):
    site = serve({"/read": page(echo)})
    with site.connect() as sock:
        until(lambda: site.server._loop.map)
        loop: Loop = site.server._loop
        (channel,) = loop.map.values()
        channel.writable = lambda: 1 / 0  # as when its file on disk cannot be read
        loop.recover()
        assert sock.recv(1) == b""
    assert site.get("/read").body == b"/read"
