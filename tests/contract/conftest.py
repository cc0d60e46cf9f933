"""A stand-in host that has the whole surface of the contract, notes what is called, and can lack any member."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

Calls = list[str]


class Storage:
    """Two backends; answers are constants, so that no request depends on one before it."""

    allocator_backend = SimpleNamespace(submit_put_task=lambda *_: None)
    loop = None

    def list_backends(self):
        return {"LocalCPUBackend": "LocalCPUBackend", "LocalDiskBackend": "LocalDiskBackend"}

    def get_all_backend_names(self):
        return ["LocalCPUBackend", "LocalDiskBackend"]

    def get_bypassed_backends(self):
        return ["LocalDiskBackend"]

    def is_backend_bypassed(self, name):
        return name == "LocalDiskBackend"

    def set_backend_bypass(self, name, bypassed):
        pass

    def close_backend(self, name):
        return name in self.list_backends()

    def create_backends(self):
        return {}

    def recreate_backend(self, name):
        return {name: self.list_backends()[name]}


class Engine:
    """An engine whose methods only answer."""

    kvcache_check_log_enabled = False
    gpu_connector = SimpleNamespace(kvcaches=None)

    def store(self, *, tokens, slot_mapping, kvcaches, req_id):
        return len(tokens)

    def retrieve(self, *, tokens, slot_mapping, kvcaches, req_id):
        return np.ones(len(tokens), bool)

    def clear(self, *, locations, request_configs):
        return 0

    def freeze(self, enabled):
        pass

    def is_frozen(self):
        return False

    def set_hot_cache(self, enabled):
        pass

    def is_hot_cache_enabled(self):
        return True


class Statistics:
    """A lookup client that counts chunks."""

    def start_statistics(self):
        pass

    def stop_statistics(self):
        pass

    def reset_statistics(self):
        pass

    def get_statistics(self):
        return {"enabled": False}


class Manager:
    """A worker's manager."""

    lookup_server = None

    def get_inference_info(self):
        return {}

    def get_inference_version(self):
        return "0"

    def get_lookup_info(self):
        return {"client": "None", "server": "None"}

    def close_lookup_server(self):
        return {"old": "None"}

    def create_lookup_server(self, dryrun=False):
        return {"new": "Server", **({"dryrun": True} if dryrun else {})}

    def recreate_lookup_server(self):
        return {"old": "None", "new": "Server"}


class SchedulerManager(Manager):
    """A manager that has the lookup client's methods."""

    def close_lookup_client(self):
        return {"old": "None"}

    def create_lookup_client(self, dryrun=False):
        return {"new": "Client", **({"dryrun": True} if dryrun else {})}

    def recreate_lookup_client(self):
        return {"old": "None", "new": "Client"}


def noted(name: str, method: Callable[..., Any], calls: Calls) -> Callable[..., Any]:
    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        return method(*args, **kwargs)

    return call


def part(kind: type, owner: str, calls: Calls, lacking: Collection[str], **attributes: Any) -> Any:
    """An object of `kind` whose methods are noted, without what `lacking` names as `owner.member`."""
    members: dict[str, Any] = {}
    for base in reversed(kind.__mro__[:-1]):
        members |= {name: value for name, value in vars(base).items() if not name.startswith("__")}
    body = {
        name: noted(f"{owner}.{name}", value, calls) if callable(value) else value
        for name, value in (members | attributes).items()
        if f"{owner}.{name}" not in lacking
    }
    return type(kind.__name__, (), body)()


@pytest.fixture
def stand_in(tmp_path: Path) -> Callable[..., tuple[Any, Calls]]:
    """`stand_in(*lacking, role="worker")`: a manager without those members, and the list of calls on it.

    Members are named as the pages name them: `manager.kv_caches`, `engine.freeze`, `storage.list_backends`,
    `statistics.start_statistics`.
    """

    def make(*lacking: str, role: str = "worker") -> tuple[Any, Calls]:
        calls: Calls = []
        config = SimpleNamespace(
            internal_api_server_enabled=True,
            internal_api_server_socket_path_prefix=str(tmp_path / "stand-in"),
            chunk_size=16,
            extra_config={},
        )
        metadata = SimpleNamespace(role=role, worker_id=0)
        storage = part(Storage, "storage", calls, lacking)
        engine = part(Engine, "engine", calls, lacking, config=config, metadata=metadata, storage_manager=storage)
        layers = {f"layer.{n}": np.zeros((4, 8, 2), np.float32) for n in range(2)}
        manager = part(
            Manager if role == "worker" else SchedulerManager,
            "manager",
            calls,
            lacking,
            config=config,
            lmcache_engine=engine,
            lmcache_engine_metadata=metadata,
            kv_caches=layers,
            lookup_client=part(Statistics, "statistics", calls, lacking),
        )
        return manager, calls

    return make
