"""The embedded manager: roles, start and stop, and the surface that LMCache's manager has."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmcache_admin.engine import Configuration, Manager, StorageError

MakeManager = Callable[..., Manager]


def test_a_worker_has_an_engine_and_kv_caches_after_start(make_manager: MakeManager) -> None:
    manager = make_manager(worker_id=3)
    assert manager.lmcache_engine is not None
    assert manager.lmcache_engine.metadata is manager.lmcache_engine_metadata
    assert manager.lmcache_engine.metadata.worker_id == 3
    assert list(manager.kv_caches) == ["model.layers.0", "model.layers.1"]
    assert manager.kv_caches["model.layers.0"].shape == (2, 64, 16, 4, 16)
    assert manager.is_healthy()


def test_a_scheduler_has_metadata_but_no_engine(make_manager: MakeManager) -> None:
    manager = make_manager(role="scheduler")
    assert manager.lmcache_engine is None
    assert manager.kv_caches == {}
    assert manager.lmcache_engine_metadata.role == "scheduler"
    assert manager.is_healthy()


def test_start_and_stop_may_be_called_twice(make_manager: MakeManager) -> None:
    manager = make_manager()
    engine = manager.lmcache_engine
    manager.start()
    assert manager.lmcache_engine is engine
    manager.stop()
    manager.stop()
    assert manager.lmcache_engine is None
    assert not manager.is_healthy()


def test_a_stopped_worker_starts_again_with_what_is_on_disk(make_manager: MakeManager) -> None:
    manager = make_manager()
    assert manager.lmcache_engine is not None
    manager.lmcache_engine.store(tokens=list(range(32)))
    manager.stop()
    manager.start()
    assert manager.lmcache_engine.lookup(list(range(32))) == 32


def test_a_folder_that_cannot_be_made_ends_the_start_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = Configuration.from_mapping({"local_disk": str(tmp_path / "file"), "max_local_disk_size": 1}, {})
    manager = Manager(config)
    with pytest.raises(StorageError, match="file"):
        manager.start()
    assert manager.lmcache_engine is None


@pytest.mark.parametrize("arguments", [{"role": "other"}, {"worker_id": -1}])
def test_an_unknown_role_or_a_negative_worker_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="allowed are worker or scheduler"):
        Manager(Configuration(), **arguments)


def test_metadata_names_are_those_of_lmcache(make_manager: MakeManager) -> None:
    metadata = make_manager(shape={"mla": True, "dtype": "bfloat16"}).lmcache_engine_metadata
    names = [name for name in dir(metadata) if not name.startswith("__") and not callable(getattr(metadata, name))]
    assert names == [
        "chunk_size", "engine_id", "first_rank", "kv_connector_extra_config", "kv_dtype", "kv_layer_groups_manager",
        "kv_shape", "local_worker_id", "local_world_size", "model_name", "role", "served_model_name", "use_mla",
        "worker_id", "world_size",
    ]  # fmt: skip
    assert (metadata.kv_dtype, metadata.kv_shape) == ("torch.bfloat16", (2, 1, 16, 1, 16))
    assert metadata.is_first_rank()


def test_inference_info_is_json_and_the_version_a_text(make_manager: MakeManager) -> None:
    manager = make_manager()
    assert manager.get_inference_version() == "embedded"
    info = manager.get_inference_info()
    assert json.loads(json.dumps(info))["cache_config"] == {"block_size": 16, "num_blocks": 64}
