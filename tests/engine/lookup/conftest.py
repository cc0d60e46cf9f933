"""Schedulers and workers that find each other, with their sockets in a folder of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmcache_admin.engine import Manager

MakeManager = Callable[..., Manager]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the sockets are; not made yet."""
    return tmp_path / "sockets"


@pytest.fixture
def worker(make_manager: MakeManager, folder: Path) -> MakeManager:
    """Start workers of one instance."""

    def make(worker_id: int = 0, shape: dict[str, Any] | None = None, **keys: Any) -> Manager:
        shape = {"lookup_folder": str(folder), **(shape or {})}
        return make_manager("worker", worker_id, shape=shape, **{"lmcache_instance_id": "test", **keys})

    return make


@pytest.fixture
def scheduler(make_manager: MakeManager, folder: Path) -> MakeManager:
    """Start schedulers of that instance."""

    def make(shape: dict[str, Any] | None = None, **keys: Any) -> Manager:
        shape = {"lookup_folder": str(folder), **(shape or {})}
        return make_manager("scheduler", shape=shape, **{"lmcache_instance_id": "test", **keys})

    return make
