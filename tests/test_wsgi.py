"""Under a foreign WSGI server: what begins with a process's first request ends with the process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.test import Client

from lmcache_admin.app import create_app
from lmcache_admin.engine import Configuration, Manager
from lmcache_admin.jobs import ENDED, Job
from lmcache_admin.scrape import SERVERS
from lmcache_admin.wsgi import serve_in_each_process


@pytest.fixture
def application(tmp_path, monkeypatch):
    """A WSGI application as gunicorn has it, its service, and what the end of the process would call."""
    ends: list[Callable[[], None]] = []
    monkeypatch.setattr("lmcache_admin.wsgi.atexit.register", ends.append)  # this process goes on after the test
    extra = {"internal_api_server_audit_file": str(tmp_path / "audit.log"), "internal_api_server_auth": "off"}
    manager = Manager(Configuration.from_mapping({"chunk_size": 16, "extra_config": extra}, {}))
    app = create_app(manager)
    yield Client(serve_in_each_process(app, manager)), app.extensions["lmcache_admin"], ends
    for end in ends:
        end()


def ours() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("lmcache-admin-")]


def files(folder: Any) -> list[str]:
    links = []
    for number in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:
            continue
    return [link for link in links if link.startswith(str(folder))]


def until_cancelled(job: Job) -> Any:
    while True:
        job.checkpoint()


def test_the_end_of_a_process_ends_tasks_and_jobs_and_closes_the_audit(application, tmp_path, eventually):
    client, service, ends = application
    assert client.get("/healthz").status_code == 200
    assert "lmcache-admin-probe" in ours()
    assert client.put("/freeze/enable").status_code == 200
    assert len(files(tmp_path)) == 2
    job = Job("clear", "DELETE /x", "me")
    service.jobs.submit(job, until_cancelled)
    eventually(lambda: job.started_at)
    for end in ends:
        end()
    assert job.state in ENDED
    eventually(lambda: not ours())
    assert files(tmp_path) == []
    assert service.metrics not in SERVERS._running
    ends.clear()


def test_s68_a_task_whose_thread_has_died_is_begun_again_with_a_request(application, eventually):
    client, service, _ = application
    client.get("/healthz")
    (task,) = service.background.tasks
    thread = task._thread
    task._stopping.set()  # its thread ends as if something had ended it
    thread.join(20)
    task._stopping.clear()

    def begun_again() -> bool:
        client.get("/healthz")
        return task._thread is not thread

    eventually(begun_again)
    assert service.deaths.counts()["probe"] == 1
