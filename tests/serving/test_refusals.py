"""A call that is not begun is refused as soon as that is certain, and for the reason that is so."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

View = Callable[[Any], bytes]


def quickly(_environ: Any) -> bytes:
    return b"done"


@pytest.fixture
def hang(release: threading.Event) -> View:
    def view(_environ: Any) -> bytes:
        release.wait()
        return b"late"

    return view


@pytest.fixture
def stuck(serve: Any, page: Any, hang: View, until: Any) -> Any:
    """A server with a route that has lost all of its share for good."""
    site = serve({"/hang": page(hang), "/other": page(quickly)}, deadlines={"read": 0.5})
    answers = site.ask("/hang", times=4)
    until(lambda: len(answers) == 4)
    assert [answer.status for answer in answers] == [504] * 4
    return site


def test_s47_route_that_has_lost_its_share_is_refused_without_waiting(stuck):
    counters = stuck.lane("read")
    answer = stuck.get("/hang")
    assert answer.status == 503
    assert "4 calls of GET /hang have not returned within 0.5 s" in answer.json["message"]
    assert "one route may hold 4 threads" in answer.json["message"]
    assert answer.json["error"] == "Not served: ask for /hang"
    assert int(answer.headers["Retry-After"]) >= 1
    assert stuck.lane("read").rejected == counters.rejected + 1
    assert stuck.lane("read").waited_count == counters.waited_count  # it was never in the queue
    assert stuck.get("/other").body == b"done"


def test_route_that_has_lost_its_share_is_served_again_when_one_call_returns(serve, page, until, release):
    leave, once = threading.Event(), threading.Lock()

    def view(_environ: Any) -> bytes:
        if once.acquire(blocking=False):
            leave.wait(20)
        elif not leave.is_set():
            release.wait()
        return b"served"

    site = serve({"/view": page(view)}, lane_threads={"read": 4}, deadlines={"read": 0.5})
    answers = site.ask("/view", times=2)
    until(lambda: len(answers) == 2)
    assert site.get("/view").status == 503
    leave.set()
    until(lambda: site.lane("read").stuck == 1)
    assert site.get("/view").body == b"served"


def test_queued_calls_are_refused_when_the_last_of_the_share_is_written_off(serve, page, hang, until):
    site = serve(
        {"/hang": page(hang), "/other": page(hang)}, lane_threads={"read": 4}, deadlines={"read": 2.0, "job": 60}
    )
    site.ask("/hang")
    until(lambda: site.lane("read").busy == 1)
    second = site.ask("/hang")
    until(lambda: site.lane("read").busy == 2)
    queued = site.ask("/hang", times=3)
    until(lambda: site.lane("read").queued == 3)
    (use,) = (use for use in site.server.lanes._uses.values())  # nothing outside tells a call's own deadline
    waiting = list(site.server.lanes._lanes["read"]._queue)
    for call in waiting:
        call.deadline += 3600
    until(lambda: (len(second), len(queued)) == (1, 3))
    assert [answer.status for answer in [*second, *queued]] == [504, 503, 503, 503]
    assert use.waiting == 0
    assert site.lane("read").queued == 0
    for answer in queued:
        assert "2 calls of GET /hang have not returned within 2 s" in answer.json["message"]
        assert "Retry-After" in answer.headers


def test_calls_of_other_routes_stay_queued_when_a_share_is_written_off(serve, page, hang, until, release):
    site = serve({"/a": page(hang), "/b": page(quickly)}, lane_threads={"read": 1}, deadlines={"read": 1.0})
    site.ask("/a")
    until(lambda: site.lane("read").busy == 1)
    other = site.ask("/b")
    until(lambda: site.lane("read").queued == 1)
    (waiting,) = site.server.lanes._lanes["read"]._queue  # nothing outside tells a call's own deadline
    waiting.deadline += 3600  # it came a moment after the other, and would be given up with it
    until(lambda: other)
    assert other[0].body == b"done"


def test_calls_that_are_slow_but_return_may_wait_in_half_of_the_queue(serve, page, hang, until, release):
    site = serve({"/slow": page(hang)}, lane_threads={"read": 2}, lane_queues={"read": 4}, deadlines={"read": 60})
    answers = site.ask("/slow", times=3)
    until(lambda: (site.lane("read").busy, site.lane("read").queued) == (1, 2))
    refused = site.get("/slow")
    assert refused.status == 503
    assert "1 call of GET /slow has not returned and 2 more wait" in refused.json["message"]
    release.set()
    until(lambda: [answer.status for answer in answers] == [200] * 3)


def test_quick_route_that_has_lost_its_share_is_not_answered_by_the_loop_either(serve, page, release, until):
    def view(environ: Any) -> bytes:
        if environ["QUERY_STRING"]:
            release.wait()
        return b"done"

    site = serve({"/view": page(view, quick=True)}, lane_threads={"read": 2}, deadlines={"read": 0.5})
    assert site.get("/view?hang").status == 504
    site.server.lanes._uses["GET /view"].slow = False  # as after a call of it that was quick
    assert site.get("/view").status == 503


def test_route_that_has_used_up_its_share_says_so_when_nothing_may_wait(serve, page, hang, until):
    pages = {"/hang": page(hang, lane="change"), "/other": page(quickly, lane="change")}
    site = serve(pages, lane_queues={"change": 0}, deadlines={"change": 60})
    site.ask("/hang", times=2)
    until(lambda: site.lane("change").busy == 2)
    answer = site.get("/hang")
    assert answer.status == 503
    assert "2 calls of GET /hang have not returned and the queue is full" in answer.json["message"]
    assert "all threads" not in answer.json["message"]
    assert site.get("/other").body == b"done"


def test_full_queue_of_other_routes_is_no_reason_to_call_threads_busy(serve, page, hang, until):
    paths = ("/a", "/b", "/c")
    site = serve({path: page(hang) for path in paths}, lane_queues={"read": 2}, deadlines={"read": 60})
    for path in ("/a", "/b"):  # each takes one thread and one place of two
        site.server.lanes.use(site.server._classify("GET", path)).cap = 1
        before = site.lane("read").queued
        site.ask(path, times=2)
        until(lambda before=before: site.lane("read").queued == before + 1)
    site.server.lanes.use(site.server._classify("GET", "/c")).cap = 1
    site.ask("/c")
    until(lambda: site.lane("read").busy == 3)
    message = site.get("/c").json["message"]
    assert "1 call of GET /c has not returned and the queue is full" in message


def test_call_that_waited_for_a_thread_until_its_deadline_says_so(serve, page, hang, until):
    site = serve({"/hang": page(hang), "/other": page(hang)}, lane_threads={"read": 1}, deadlines={"read": 0.5})
    site.server.lanes._lanes["read"]._allowance._left = 0  # as when 32 threads have been replaced already
    assert site.get("/hang").status == 504
    answer = site.get("/other")
    assert answer.status == 503
    assert answer.json["message"].startswith("not begun within 0.5 s: all threads are busy (lane read: 1 threads")
    assert "Retry-After" in answer.headers


def test_call_that_waited_for_its_share_until_its_deadline_says_so(serve, page, hang, until):
    site = serve({"/hang": page(hang)}, lane_threads={"read": 2}, deadlines={"read": 60})
    site.ask("/hang")
    until(lambda: site.lane("read").busy == 1)
    waiting = site.ask("/hang")
    until(lambda: site.lane("read").queued == 1)
    lane = site.server.lanes._lanes["read"]
    with lane._lock:  # as when the running one was begun later than this one came
        call = lane._queue[0]
        call.deadline = 0.0
        lane._open = {call: lane._open.pop(call), **lane._open}
    site.server._loop.poke()
    until(lambda: waiting)
    assert waiting[0].status == 503
    assert waiting[0].json["message"].startswith("not begun within 60 s: 1 call of GET /hang has not returned (")
