"""Backends of a running engine: listed, bypassed, closed, recreated, probed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lmcache_admin.engine import Engine, StorageError, StorageManager

MEMORY, DISK = "LocalCPUBackend", "LocalDiskBackend"
TOKENS = list(range(32))
MakeEngine = Callable[..., Engine]


def parts(make_engine: MakeEngine, **keys: object) -> tuple[Engine, StorageManager]:
    engine = make_engine(**keys)
    assert engine.storage_manager is not None
    return engine, engine.storage_manager


def test_backends_are_listed_in_search_order(make_engine: MakeEngine) -> None:
    _, storage = parts(make_engine)
    assert list(storage.list_backends().items()) == [(MEMORY, MEMORY), (DISK, DISK)]
    assert storage.get_all_backend_names() == [MEMORY, DISK]


@pytest.mark.parametrize("keys", [{"local_disk": None}, {"max_local_disk_size": 0}])
def test_without_a_folder_or_a_budget_there_is_no_disk_backend(
    make_engine: MakeEngine, keys: dict[str, object]
) -> None:
    _, storage = parts(make_engine, **keys)
    assert storage.get_all_backend_names() == [MEMORY]


def test_a_folder_without_a_budget_is_one_warning_that_names_the_key(
    make_engine: MakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    make_engine(max_local_disk_size=0)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "no disk backend" in record.getMessage()
    assert "max_local_disk_size" in record.getMessage()


@pytest.mark.parametrize("keys", [{}, {"local_disk": None}, {"local_disk": None, "max_local_disk_size": 0}])
def test_no_warning_where_folder_and_budget_agree(
    make_engine: MakeEngine, caplog: pytest.LogCaptureFixture, keys: dict[str, object]
) -> None:
    make_engine(**keys)
    assert caplog.records == []


def test_a_disk_size_set_at_run_time_that_cannot_be_is_refused_at_recreate(make_engine: MakeEngine) -> None:
    engine, storage = parts(make_engine)
    engine.store(tokens=TOKENS)
    engine.config.max_local_disk_size = 1e300
    with pytest.raises(StorageError, match="max_local_disk_size: 1e\\+300 is not allowed"):
        storage.recreate_backend(DISK)
    assert engine.lookup(TOKENS, [DISK]) == 32


def test_a_bypassed_backend_takes_no_part_and_keeps_its_content(make_engine: MakeEngine) -> None:
    engine, storage = parts(make_engine)
    engine.store(tokens=TOKENS)
    storage.set_backend_bypass(MEMORY, True)
    storage.set_backend_bypass(DISK, True)
    assert storage.get_bypassed_backends() == [MEMORY, DISK]
    assert engine.lookup(TOKENS) == 0
    assert engine.store(tokens=list(range(100, 132))) == 0
    storage.set_backend_bypass(DISK, False)
    assert not storage.is_backend_bypassed(DISK)
    assert engine.lookup(TOKENS) == 32
    assert engine.retrieve(tokens=TOKENS).sum().item() == 32
    assert engine.lookup(list(range(100, 132))) == 0


def test_a_bypassed_memory_gets_nothing_from_a_retrieve(make_engine: MakeEngine) -> None:
    engine, storage = parts(make_engine)
    engine.store(tokens=TOKENS)
    engine.clear([MEMORY])
    storage.set_backend_bypass(MEMORY, True)
    engine.retrieve(tokens=TOKENS)
    assert storage.stats()[MEMORY]["chunks"] == 0


def test_a_closed_disk_comes_back_with_its_chunks(make_engine: MakeEngine) -> None:
    engine, storage = parts(make_engine)
    engine.store(tokens=TOKENS)
    assert storage.close_backend(DISK)
    assert not storage.close_backend(DISK)
    assert storage.get_all_backend_names() == [MEMORY]
    assert storage.create_backends() == {DISK: DISK}
    assert storage.create_backends() == {}
    assert engine.lookup(TOKENS, [DISK]) == 32


def test_the_memory_backend_cannot_be_closed(make_engine: MakeEngine) -> None:
    engine, storage = parts(make_engine)
    with pytest.raises(StorageError, match="cannot be closed"):
        storage.close_backend(MEMORY)
    assert engine.store(tokens=TOKENS) == 32


def test_a_recreated_backend_keeps_its_place_in_the_order(make_engine: MakeEngine) -> None:
    engine, storage = parts(make_engine)
    engine.store(tokens=TOKENS)
    assert storage.recreate_backend(MEMORY) == {MEMORY: MEMORY}
    assert storage.get_all_backend_names() == [MEMORY, DISK]
    assert storage.allocator_backend is storage.backends[MEMORY]
    assert engine.lookup(TOKENS, [MEMORY]) == 0
    assert engine.retrieve(tokens=TOKENS).sum().item() == 32


def test_recreate_takes_a_changed_size_and_makes_missing_backends(make_engine: MakeEngine) -> None:
    engine, storage = parts(make_engine)
    storage.close_backend(DISK)
    engine.config.max_local_cpu_size = 2.0
    assert storage.recreate_backend(MEMORY) == {MEMORY: MEMORY, DISK: DISK}
    assert storage.stats()[MEMORY]["capacity"] == 2 * 1024**3


def test_recreate_of_an_unknown_backend_is_a_key_error(make_engine: MakeEngine) -> None:
    _, storage = parts(make_engine)
    with pytest.raises(KeyError):
        storage.recreate_backend("Nope")


def test_when_a_backend_cannot_be_made_anew_the_old_one_goes_on(make_engine: MakeEngine, tmp_path: Path) -> None:
    engine, storage = parts(make_engine)
    engine.store(tokens=TOKENS)
    (tmp_path / "file").write_text("")
    engine.config.local_disk = str(tmp_path / "file")
    with pytest.raises(StorageError):
        storage.recreate_backend(DISK)
    engine.config.local_disk = None
    with pytest.raises(StorageError, match="no longer asks"):
        storage.recreate_backend(DISK)
    assert engine.lookup(TOKENS, [DISK]) == 32


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cache_policy", "NOPE"),
        ("max_local_cpu_size", float("nan")),
        ("max_local_cpu_size", -1.0),
        ("max_local_cpu_size", 1e300),
    ],
)
def test_a_value_set_at_run_time_that_cannot_be_is_refused_at_recreate(
    make_engine: MakeEngine, key: str, value: object
) -> None:
    engine, storage = parts(make_engine)
    engine.store(tokens=TOKENS)
    setattr(engine.config, key, value)
    with pytest.raises(StorageError, match=f"{key}: .* is not allowed"):
        storage.recreate_backend(MEMORY)
    assert engine.lookup(TOKENS, [MEMORY]) == 32


def test_the_probe_of_each_backend_tells_its_steps(make_engine: MakeEngine) -> None:
    _, storage = parts(make_engine)
    results = [storage.probe_backend(name) for name in storage.get_all_backend_names()]
    assert [(one.name, one.status) for one in results] == [(MEMORY, "ok"), (DISK, "ok")]
    assert all(set(one.durations_ms) == {"store", "lookup", "retrieve", "remove"} for one in results)
    assert all(one.duration_ms >= 0 for one in results)


def test_a_bypassed_or_switched_off_backend_is_not_probed(make_engine: MakeEngine) -> None:
    engine, storage = parts(make_engine)
    engine.set_hot_cache(False)
    storage.set_backend_bypass(DISK, True)
    assert [storage.probe_backend(name).status for name in (MEMORY, DISK)] == ["skipped", "skipped"]


def test_the_probe_of_a_folder_that_is_gone_fails_with_the_step(make_engine: MakeEngine, tmp_path: Path) -> None:
    _, storage = parts(make_engine)
    (tmp_path / "chunks").rmdir()
    result = storage.probe_backend(DISK)
    assert (result.status, result.message) == ("failed", "store of the probe's chunk failed")


def test_a_probe_leaves_no_file(make_engine: MakeEngine, tmp_path: Path) -> None:
    _, storage = parts(make_engine)
    storage.probe_backend(DISK)
    assert list((tmp_path / "chunks").iterdir()) == []


def test_put_get_contains_and_remove_go_to_the_named_backends(make_engine: MakeEngine) -> None:
    engine, storage = parts(make_engine)
    engine.store(tokens=TOKENS)
    key = next(iter(engine._spans(TOKENS)))[2]
    found = storage.get(key)
    assert found is not None
    assert storage.contains(key) == MEMORY
    assert storage.remove(key, [MEMORY]) == 1
    assert storage.contains(key) == DISK
    assert storage.remove(key) == 1
    assert storage.contains(key) is None
    assert storage.put(key, found, [DISK]) == [DISK]
    assert storage.get(key, [MEMORY]) is None
