"""Threads of the service that die: /readyz degrades, metrics count, background work and jobs go on (S68)."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from lmcache_admin.background import Background, PeriodicTask
from lmcache_admin.deaths import Deaths
from lmcache_admin.job_runner import Jobs
from lmcache_admin.jobs import FAILED, Job
from lmcache_admin.serving.lanes import lane_limits

# pytest takes note of each thread that ends by an exception, which is what is tested here
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


def named(name: str) -> threading.Thread:
    (thread,) = (thread for thread in threading.enumerate() if thread.name == name)
    return thread


def rests(thread: threading.Thread) -> bool:
    """Whether a lane's thread waits for a call."""
    return sys._current_frames()[thread.ident or 0].f_code.co_name == "run"


def test_s68_readyz_is_degraded_and_metrics_count_a_dead_thread(serve, eventually, kill):
    running = serve(extra={"lane_threads": {"change": 1}})
    eventually(lambda: running.get("/readyz").status == 200)
    series = f'lmcache_admin_thread_deaths_total{{server="{running.server.server_log_info}",thread="change"}}'
    assert f"{series} 0.0" in running.get("/metrics").text
    thread = named("lmcache-admin-change-1")
    eventually(lambda: rests(thread))
    kill(thread)
    assert running.put("/freeze/enable").status == 500
    report = running.get("/readyz")
    assert (report.status, report.json()["status"]) == (200, "degraded")
    assert "thread change" in [check["name"] for check in report.json()["checks"]]
    assert running.put("/freeze/enable").status == 200
    assert f"{series} 1.0" in running.get("/metrics").text


def test_s68_probe_whose_thread_dies_is_begun_again(serve, eventually, monkeypatch, kill):
    monkeypatch.setattr("lmcache_admin.app.INTERVAL", 0.05)  # a thread that sleeps dies when it wakes
    running = serve()
    deaths = running.server.service.deaths
    kill_between_runs(kill, named("lmcache-admin-probe"), eventually, monkeypatch)
    eventually(lambda: deaths.counts()["probe"] == 1)
    task = running.server.service.background.tasks[0]
    before = task.outcome
    eventually(lambda: task.outcome is not before)
    assert running.get("/readyz").json()["status"] == "degraded"


def kill_between_runs(kill, thread, eventually, monkeypatch):
    # what its work raises a task survives: it has to come between two runs
    passed = threading.Event()
    monkeypatch.setattr(PeriodicTask, "_run_once", lambda task: passed.set())
    assert passed.wait(20)
    kill(thread)
    eventually(lambda: not thread.is_alive())
    monkeypatch.undo()


def test_s68_task_that_found_no_thread_is_begun_when_there_is_one(monkeypatch, eventually):
    # a limit for threads does not bind root, so the refusal of the system is played
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    runs: list[int] = []
    deaths = Deaths()
    background = Background(deaths)
    background.add(PeriodicTask("example", lambda: runs.append(1), 0.01))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        background.start()
        background.mend()
        assert runs == []
    background.mend()
    eventually(lambda: runs)
    background.mend()
    assert deaths.counts() == {"example": 0}
    background.stop(5.0)
    background.mend()
    assert "lmcache-admin-example" not in [thread.name for thread in threading.enumerate()]


def test_s68_host_starts_where_no_thread_is_left_for_the_probe(serve, monkeypatch, eventually):
    start = threading.Thread.start

    def scarce(thread: threading.Thread) -> None:
        if thread.name == "lmcache-admin-probe":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", scarce)  # as above
    running = serve()
    assert running.get("/readyz").json()["status"] == "starting"
    monkeypatch.undo()
    eventually(lambda: running.get("/readyz").json()["status"] == "ok")


def test_s68_job_whose_thread_dies_has_failed_and_holds_no_place(eventually, monkeypatch, kill):
    deaths = Deaths()
    jobs = Jobs(lane_limits({}, {}, {})["job"], deaths)
    job, begun = Job("clear", "DELETE /x", "me"), threading.Event()

    def hang(_job: Job) -> None:
        begun.set()
        while True:
            time.sleep(0.001)

    def raise_again(*_: object) -> None:
        raise SystemExit

    # what a job raises its thread survives: this one dies while it says so
    monkeypatch.setattr("lmcache_admin.job_runner.logger.exception", raise_again)
    jobs.submit(job, hang)
    assert begun.wait(20)
    thread = named(f"lmcache-admin-work-{job.id}")
    kill(thread)
    eventually(lambda: not thread.is_alive())
    ended: list[Job] = []
    jobs.keep(job, ended.append)
    assert jobs.counts()["running"] == 1
    jobs.mend()
    assert (job.state, job.outcome, ended) == (FAILED, None, [job])
    assert jobs.counts()["running"] == 0
    assert deaths.counts() == {"work": 1}
    jobs.mend()
    assert deaths.counts() == {"work": 1}
