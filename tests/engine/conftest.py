"""Engines for the tests of this room, made as an operator's file makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lmcache_admin.engine import Configuration, Engine, Manager

MakeManager = Callable[..., Manager]
MakeEngine = Callable[..., Engine]


@pytest.fixture
def make_manager(tmp_path: Path) -> Iterator[MakeManager]:
    """Start managers with memory and a disk folder of the test's own; keys of the file as arguments."""
    made: list[Manager] = []

    def make(role: str = "worker", worker_id: int = 0, shape: dict[str, Any] | None = None, **keys: Any) -> Manager:
        extra = {f"embedded_engine_{name}": value for name, value in (shape or {}).items()}
        folder = {"local_disk": str(tmp_path / "chunks"), "max_local_disk_size": 1.0}
        values = {"chunk_size": 16, "max_local_cpu_size": 1.0, **folder, "extra_config": extra, **keys}
        manager = Manager(Configuration.from_mapping(values, {}), role, worker_id)
        made.append(manager)
        manager.start()
        return manager

    yield make
    for manager in made:
        manager.stop()


@pytest.fixture
def make_engine(make_manager: MakeManager) -> MakeEngine:
    """Start engines as `make_manager` does."""

    def make(**keys: Any) -> Engine:
        engine = make_manager(**keys).lmcache_engine
        assert engine is not None
        return engine

    return make
