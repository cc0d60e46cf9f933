"""The manager's lookup parts: what they are called, made, replaced and closed, as /lookup shows them."""

from __future__ import annotations

import logging
import socket
import stat
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmcache_admin.engine import Configuration, Manager

MakeManager = Callable[..., Manager]
TOKENS = list(range(40))


def stored(manager: Manager) -> int:
    """Store TOKENS in a worker: two chunks of 16."""
    assert manager.lmcache_engine is not None
    return manager.lmcache_engine.store(tokens=TOKENS)


def found(manager: Manager) -> int:
    assert manager.lookup_client is not None
    return manager.lookup_client.lookup(TOKENS, "request")


def act(manager: Manager, what: str, side: str, **arguments: Any) -> dict[str, Any]:
    result: dict[str, Any] = getattr(manager, f"{what}_lookup_{side}")(**arguments)
    return result


def test_scheduler_and_worker_of_one_configuration_find_each_other_without_a_setting() -> None:
    config = Configuration.from_mapping({"chunk_size": 16, "max_local_cpu_size": 0.05}, {})
    scheduler, worker = Manager(config, "scheduler"), Manager(config, "worker")
    scheduler.start()
    worker.start()
    try:
        assert (stored(worker), found(scheduler)) == (32, 32)
        server = worker.lookup_server
        assert server is not None
        path = Path(server.path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    finally:
        scheduler.stop()
        worker.stop()
    assert not path.exists()


def test_a_scheduler_has_a_client_and_a_worker_a_server(scheduler: MakeManager, worker: MakeManager) -> None:
    assert scheduler().get_lookup_info() == {"client": "LookupClient", "server": "None"}
    assert worker().get_lookup_info() == {"client": "None", "server": "LookupServer"}


@pytest.mark.parametrize("side", ["client", "server"])
def test_closing_says_what_it_was_and_closing_nothing_says_none(
    scheduler: MakeManager, worker: MakeManager, side: str
) -> None:
    manager = scheduler() if side == "client" else worker()
    assert act(manager, "close", side) == {"old": "LookupClient" if side == "client" else "LookupServer"}
    assert act(manager, "close", side) == {"old": "None"}
    assert manager.get_lookup_info() == {"client": "None", "server": "None"}


@pytest.mark.parametrize("side", ["client", "server"])
def test_recreating_nothing_is_an_error(scheduler: MakeManager, worker: MakeManager, side: str) -> None:
    manager = scheduler() if side == "client" else worker()
    act(manager, "close", side)
    assert act(manager, "recreate", side) == {"error": f"lookup {side} not available"}


@pytest.mark.parametrize("what", ["create", "recreate"])
@pytest.mark.parametrize("side", ["client", "server"])
def test_a_successor_answers_and_the_old_one_is_closed(
    scheduler: MakeManager, worker: MakeManager, what: str, side: str
) -> None:
    one, other = scheduler(), worker()
    stored(other)
    assert found(one) == 32
    manager = one if side == "client" else other
    old = getattr(manager, f"lookup_{side}")
    name = type(old).__name__
    assert act(manager, what, side) == ({"new": name} if what == "create" else {"old": name, "new": name})
    assert getattr(manager, f"lookup_{side}") is not old
    assert found(one) == 32
    if side == "client":
        assert old.lookup(TOKENS, "request") == 0
    else:
        assert [thread.name for thread in threading.enumerate()].count("lmcache-admin-lookup") == 1


def test_a_dry_run_says_what_would_be_made_and_makes_nothing(scheduler: MakeManager, worker: MakeManager) -> None:
    one, other = scheduler(), worker()
    client, server = one.lookup_client, other.lookup_server
    assert one.create_lookup_client(dryrun=True) == {"new": "LookupClient", "dryrun": True}
    assert other.create_lookup_server(dryrun=True) == {"new": "LookupServer", "dryrun": True}
    assert (one.lookup_client, other.lookup_server) == (client, server)


def test_a_wrapper_is_shown_around_what_it_wraps(scheduler: MakeManager) -> None:
    manager = scheduler(hit_miss_ratio=0.5)
    name = "HitLimitLookupClient(LookupClient)"
    assert manager.get_lookup_info()["client"] == name
    assert manager.create_lookup_client(dryrun=True)["new"] == name
    assert manager.recreate_lookup_client() == {"old": name, "new": name}


def test_what_was_changed_in_the_configuration_counts_from_the_next_client_on(scheduler: MakeManager) -> None:
    manager = scheduler()
    manager.config.hit_miss_ratio = 1.0
    assert manager.get_lookup_info()["client"] == "LookupClient"
    assert manager.create_lookup_client() == {"new": "HitLimitLookupClient(LookupClient)"}


def test_without_an_engine_there_is_no_server_and_without_metadata_no_client(
    scheduler: MakeManager, worker: MakeManager
) -> None:
    assert scheduler().create_lookup_server() == {"error": "engine not available"}
    manager = worker()
    manager.lmcache_engine_metadata = None
    assert manager.create_lookup_client() == {"error": "metadata not available"}
    assert manager.create_lookup_client(dryrun=True) == {"error": "metadata not available"}


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("lookup_timeout_ms", 0, "milliseconds from 1"),
        ("lookup_server_worker_ids", [1], "workers from 0 to 0"),
        ("external_lookup_client", "mooncakestore://host", "its own workers only"),
    ],
)
def test_what_cannot_be_made_says_why_and_leaves_the_old_one(
    scheduler: MakeManager, worker: MakeManager, key: str, value: object, allowed: str
) -> None:
    one, other = scheduler(), worker()
    stored(other)
    old = one.lookup_client
    setattr(one.config, key, value)
    assert allowed in one.create_lookup_client()["error"]
    assert allowed in one.create_lookup_client(dryrun=True)["error"]
    assert allowed in one.recreate_lookup_client()["error"]
    assert one.lookup_client is old
    assert found(one) == 32


def test_a_worker_that_is_to_have_no_server_has_none(worker: MakeManager) -> None:
    manager = worker(1, {"world_size": 2}, lookup_server_worker_ids=[0])
    assert manager.get_lookup_info() == {"client": "None", "server": "None"}
    assert manager.create_lookup_server() == {"new": "None"}
    assert worker(1, {"world_size": 2, "mla": True}).lookup_server is None


def test_a_socket_that_another_process_serves_is_one_line_and_the_engine_runs(
    worker: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    first = worker()
    with caplog.at_level(logging.WARNING):
        second = worker()
    assert second.lookup_server is None
    assert stored(second) == 32
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("No lookup server: cannot listen on ")
    assert line.endswith("another process serves it")
    assert "another process serves it" in second.create_lookup_server()["error"]
    assert first.lookup_server is not None


def test_a_stale_socket_is_replaced(worker: MakeManager, folder: Path) -> None:
    manager = worker()
    assert manager.lookup_server is not None
    path = manager.lookup_server.path
    manager.stop()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    assert worker().lookup_server is not None


def test_what_killed_processes_left_is_cleared_away_and_nothing_else(
    make_manager: MakeManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    living = make_manager()
    assert living.lookup_server is not None
    folder = Path(living.lookup_server.path).parent
    assert folder.parent == tmp_path
    left = folder / "lookup-0123456789abcdef-0"
    others = [folder / "lookup-other", folder / "lookup-0123456789abcdef-1"]
    for path in (left, others[0]):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    others[1].write_text("no socket")
    second = make_manager()
    assert second.lookup_server is not None
    assert not left.exists()
    assert all(path.exists() for path in [*others, Path(living.lookup_server.path), Path(second.lookup_server.path)])
    others[0].unlink()


@pytest.mark.parametrize("folder_name", ["x" * 120, "file"])
def test_a_folder_that_cannot_be_used_is_one_line_and_the_engine_runs(
    worker: MakeManager, tmp_path: Path, caplog: pytest.LogCaptureFixture, folder_name: str
) -> None:
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        manager = worker(shape={"lookup_folder": str(tmp_path / folder_name)})
    assert (manager.lookup_server, stored(manager)) == (None, 32)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "\n" not in line


def test_stop_closes_both_parts_and_start_makes_them_again(scheduler: MakeManager, worker: MakeManager) -> None:
    one, other = scheduler(), worker()
    one.stop()
    other.stop()
    assert one.get_lookup_info() == other.get_lookup_info() == {"client": "None", "server": "None"}
    one.start()
    other.start()
    stored(other)
    assert found(one) == 32


def test_starting_twice_does_not_bring_back_what_an_operator_closed(scheduler: MakeManager) -> None:
    manager = scheduler()
    manager.close_lookup_client()
    manager.start()
    assert manager.lookup_client is None
