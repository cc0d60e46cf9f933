"""Periodic tasks outlive what they do."""

import threading

import pytest

from lmcache_admin.background import Background, PeriodicTask


@pytest.mark.parametrize("error", [SystemExit(1), GeneratorExit(), RuntimeError("no")])
def test_a_task_goes_on_after_whatever_its_work_raises(error, eventually) -> None:
    runs = []

    def work() -> None:
        runs.append(threading.current_thread().name)
        if len(runs) == 1:
            raise error

    task = PeriodicTask("example", work, interval=0.001)
    background = Background()
    background.add(task)
    background.start()
    try:
        eventually(lambda: len(runs) >= 3)
        assert set(runs) == {"lmcache-admin-example"}
        assert task.outcome is not None
        assert task.outcome.error is None
    finally:
        background.stop(timeout=5.0)


def test_a_failure_is_kept_and_logged_once_while_it_lasts(caplog, eventually) -> None:
    def work() -> None:
        raise RuntimeError("the same again")

    task = PeriodicTask("example", work, interval=0.001)
    task.start()
    eventually(lambda: task.outcome is not None)
    first = task.outcome
    eventually(lambda: task.outcome is not first)
    task.stop(timeout=5.0)
    assert task.outcome is not None
    assert task.outcome.error == "RuntimeError: the same again"
    assert [record.getMessage() for record in caplog.records] == ["The task example failed"]


def test_stop_before_the_next_run_ends_the_thread() -> None:
    task = PeriodicTask("example", lambda: None, interval=3600.0)
    task.start()
    task.stop(timeout=5.0)
    assert "lmcache-admin-example" not in [thread.name for thread in threading.enumerate()]
