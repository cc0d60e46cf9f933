"""The remote backend as the service shows and changes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Serve = Callable[..., Any]
REMOTE = "RemoteBackend"


@pytest.fixture
def served(serve: Serve, redis_server: Any) -> Any:
    """A service whose engine has memory and Redis, with four chunks in both."""
    redis_server.stop()
    redis_server.start(password="hunter2")
    running = serve(remote_url=redis_server.url)
    assert running.post("/cache/store?tokens_mock=0,64").json()["num_stored"] == 64
    return running


def test_it_is_searched_last_and_counted(served: Any) -> None:
    assert served.get("/backends").json() == {"LocalCPUBackend": "LocalCPUBackend", REMOTE: REMOTE}
    figures = [line for line in served.get("/metrics").text.splitlines() if REMOTE in line]
    assert any("puts" in line and line.endswith(" 4.0") for line in figures)
    assert not any("capacity" in line or "bytes" in line for line in figures)


def test_closed_and_made_again_it_has_its_chunks(served: Any) -> None:
    assert served.delete(f"/backends/{REMOTE}").json()["backends"] == {"LocalCPUBackend": "LocalCPUBackend"}
    assert served.post("/backends").json()["created"] == {REMOTE: REMOTE}
    served.delete("/cache/clear?locations=LocalCPUBackend")
    assert served.post("/cache/retrieve?tokens_mock=0,64").json()["num_retrieved"] == 64


def test_bypassed_it_is_not_asked(served: Any) -> None:
    served.put(f"/bypass/add?backend_name={REMOTE}")
    served.delete("/cache/clear?locations=LocalCPUBackend")
    assert served.post("/cache/retrieve?tokens_mock=0,64").json()["num_retrieved"] == 0
    served.put(f"/bypass/remove?backend_name={REMOTE}")
    assert served.post("/cache/retrieve?tokens_mock=0,64").json()["num_retrieved"] == 64


def test_a_clear_takes_what_both_have_once(served: Any) -> None:
    assert served.delete("/cache/clear").json()["num_removed"] == 64
    assert served.post("/cache/retrieve?tokens_mock=0,64").json()["num_retrieved"] == 0


def test_a_clear_that_cannot_reach_it_says_so(served: Any, redis_server: Any) -> None:
    redis_server.stop()
    answer = served.delete("/cache/clear")
    assert (answer.status, answer.json()["error"]) == (500, "Failed to clear cache")
    assert "cannot be cleared: it does not answer" in answer.json()["message"]
    assert "hunter2" not in answer.text


def test_s64_the_password_is_in_no_answer(served: Any, redis_server: Any) -> None:
    redis_server.stop()
    served.post("/cache/store?tokens_mock=100,164")
    paths = ["/conf", "/conf?names=remote_url", "/backends", "/metrics", "/readyz", "/meta", "/env"]
    assert not [path for path in paths if "hunter2" in served.get(path).text]


def test_s64_a_store_and_a_retrieve_go_on_without_it(served: Any, redis_server: Any) -> None:
    redis_server.stop()
    assert served.post("/cache/store?tokens_mock=0,128").status == 200
    assert served.post("/cache/retrieve?tokens_mock=0,128").json()["num_retrieved"] == 128  # from memory
    assert served.get("/healthz").status == 200
