"""Lanes: nothing waits behind a slow call, everything is bounded, every caller gets an answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from lmcache_admin.serving.lanes import lane_limits


def quickly(_environ: Any) -> bytes:
    return b"done"


@pytest.fixture
def hang(release: threading.Event) -> Callable[[Any], bytes]:
    def view(_environ: Any) -> bytes:
        release.wait()
        return b"late"

    return view


def test_s45_64_reads_that_hang_for_good_delay_no_other_route(serve, page, hang, until):
    site = serve(
        {
            "/hang": page(hang),
            "/light": page(quickly, lane="light", quick=True),
            "/health": page(quickly, lane="light"),
            "/quick": page(quickly, quick=True),
            "/read": page(quickly),
            "/change": page(quickly, lane="change"),
        },
        deadlines={"read": 60},
    )
    site.ask("/hang", times=64)
    until(lambda: site.lane("read").busy == 4 and site.lane("read").queued + site.lane("read").rejected == 60)
    assert site.lane("read").queued == 32
    for path in ("/light", "/health", "/quick", "/read", "/change"):
        assert site.get(path).body == b"done"


def test_s45_full_lane_answers_503_with_reason_and_retry_after(serve, page, hang, until):
    site = serve(
        {"/a": page(hang), "/b": page(hang)}, lane_threads={"read": 2}, lane_queues={"read": 1}, deadlines={"read": 60}
    )
    for number, path in enumerate(("/a", "/b"), 1):
        site.ask(path)
        until(lambda number=number: site.lane("read").busy == number)
    site.ask("/a")
    until(lambda: site.lane("read").queued == 1)
    answer = site.get("/b")
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.headers["Content-Type"] == "application/json"
    assert set(answer.json) == {"error", "message"}
    assert "lane read: 2 threads, 1 waiting" in answer.json["message"]
    assert site.lane("read").rejected == 1


def test_s47_call_past_its_deadline_is_answered_504_and_its_late_answer_is_dropped(serve, page, hang, until, release):
    site = serve({"/hang": page(hang)}, deadlines={"read": 0.2})
    with site.connect() as sock:
        sock.sendall(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b""
        while part := sock.recv(65536):
            received += part
    assert received.startswith(b"HTTP/1.1 504 ")
    assert b"ask for /hang" in received
    assert site.lane("read").stuck == 1
    release.set()
    until(lambda: site.lane("read").stuck == 0)
    assert received.count(b"HTTP/1.1") == 1
    assert b"late" not in received


def test_s47_written_off_thread_is_replaced_and_ends_when_its_call_returns(serve, page, hang, until, release):
    site = serve({"/hang": page(hang)}, deadlines={"read": 0.2})
    assert site.get("/hang").status == 504
    until(lambda: site.lane("read").threads == 8)
    assert site.lane("read").timed_out == 1
    release.set()
    until(lambda: site.lane("read").stuck == 0)
    until(lambda: len([t for t in threading.enumerate() if t.name.startswith("lmcache-admin-read-")]) == 8)


def test_s47_no_more_than_32_threads_are_replaced(serve, page, hang, until, release):
    paths = [f"/{number}" for number in range(12)]
    site = serve({path: page(hang) for path in paths}, deadlines={"read": 0.3}, lane_queues={"read": 64})
    for path in paths:
        answers = site.ask(path, times=4)
        until(lambda answers=answers: len(answers) == 4)
    until(lambda: site.lane("read").stuck == 40)
    assert site.lane("read").threads == 0
    release.set()
    until(lambda: site.lane("read").threads == 8 and site.lane("read").stuck == 0)


def test_s47_route_holds_at_most_half_of_its_lane_and_blocks_nobody_behind_it(serve, page, hang, until):
    site = serve({"/hang": page(hang), "/other": page(quickly)}, deadlines={"read": 60})
    site.ask("/hang", times=8)
    until(lambda: site.lane("read").queued == 4)
    assert site.lane("read").busy == 4
    assert site.get("/other").body == b"done"
    assert site.lane("read").queued == 4


def test_waiting_request_is_passed_over_while_its_route_is_full(serve, page, until, hang):
    gate, entered = threading.Event(), threading.Event()

    def hold(_environ: Any) -> bytes:
        entered.set()
        gate.wait(20)
        return b"held"

    site = serve(
        {"/hang": page(hang), "/hold": page(hold), "/other": page(quickly)},
        lane_threads={"read": 2},
        deadlines={"read": 60},
    )
    site.ask("/hang", times=2)
    until(lambda: (site.lane("read").busy, site.lane("read").queued) == (1, 1))
    held = site.ask("/hold")
    entered.wait(20)
    other = site.ask("/other")
    until(lambda: site.lane("read").queued == 2)
    gate.set()
    until(lambda: held and other)
    assert other[0].body == b"done"
    until(lambda: (site.lane("read").busy, site.lane("read").queued) == (1, 1))


def test_s47_job_past_its_deadline_goes_on(serve, page, until, release):
    ended = threading.Event()

    def job(_environ: Any) -> bytes:
        release.wait()
        ended.set()
        return b"ended"

    site = serve({"/job": page(job, lane="job")}, deadlines={"job": 0.2})
    answer = site.get("/job")
    assert answer.status == 504
    assert "it goes on" in answer.json["message"]
    release.set()
    assert ended.wait(20)


def test_counters_tell_what_was_served_and_how_long_it_waited(serve, page, until):
    site = serve({"/read": page(quickly), "/quick": page(quickly, quick=True)})
    for _ in range(3):
        site.get("/read")
        site.get("/quick")
    until(lambda: site.lane("read").served == 6)
    counters = site.lane("read")
    assert counters.waited_count >= 3
    assert counters.served_by_loop + counters.waited_count == 6
    assert sum(counters.waited_buckets) == counters.waited_count
    assert (counters.threads, counters.busy, counters.queued, counters.queue_limit) == (8, 0, 0, 64)


def test_call_that_is_refused_after_waiting_counts_with_the_time_that_it_waited(serve, page, hang, until):
    site = serve({"/hang": page(hang)}, lane_threads={"read": 1}, deadlines={"read": 1.5})
    answers = site.ask("/hang", times=2)
    until(lambda: site.lane("read").queued == 1)
    assert site.lane("read").waited_count == 1  # the one that runs
    until(lambda: len(answers) == 2)
    assert sorted(answer.status for answer in answers) == [503, 504]
    counters = site.lane("read")
    assert counters.waited_count == sum(counters.waited_buckets) == 2
    assert counters.waited_seconds > 0.1
    assert sum(counters.waited_buckets[4:]) == 1  # above 0.1 s


def test_each_lane_has_threads_of_its_own(serve, page):
    names: list[str] = []

    def name(_environ: Any) -> bytes:
        names.append(threading.current_thread().name)
        return b""

    site = serve({f"/{lane}": page(name, lane=lane) for lane in ("light", "read", "change", "job")})
    for lane in ("light", "read", "change", "job"):
        site.get(f"/{lane}")
        assert names[-1].startswith(f"lmcache-admin-{lane}-")
    assert {name: counters.threads for name, counters in site.server.lanes.counters().items()} == {
        "light": 2,
        "read": 8,
        "change": 4,
        "job": 4,
    }


def test_lane_that_a_setting_leaves_out_keeps_its_default():
    limits = lane_limits({"read": 3}, {}, {"job": 9.0})
    assert (limits["read"].threads, limits["read"].queue, limits["read"].deadline) == (3, 64, 5.0)
    assert (limits["job"].threads, limits["job"].queue, limits["job"].deadline) == (4, 16, 9.0)
    assert limits["read"].route_cap == 1
