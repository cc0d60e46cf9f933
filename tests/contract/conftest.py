"""A stand-in host that has the whole surface of the contract, notes what is called, and can lack any member."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

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

    def open_chunk_source(self, store):
        return SimpleNamespace(keys=list, close=lambda: None)

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


class Unreadable:
    """A switch that fails whoever reads or sets it."""

    def __get__(self, *_):
        raise RuntimeError("boom: engine.kvcache_check_log_enabled")

    def __set__(self, *_):
        raise RuntimeError("boom: engine.kvcache_check_log_enabled")


def noted(name: str, method: Callable[..., Any], calls: Calls, failing: bool) -> Callable[..., Any]:
    @wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        if failing:
            raise RuntimeError(f"boom: {name}")
        return method(*args, **kwargs)

    return call


def part(
    kind: type, owner: str, calls: Calls, lacking: Collection[str], failing: bool = False, **attributes: Any
) -> Any:
    """An object of `kind` whose methods are noted, and may fail, without what `lacking` names as `owner.member`."""
    members: dict[str, Any] = {}
    for base in reversed(kind.__mro__[:-1]):
        members |= {name: value for name, value in vars(base).items() if not name.startswith("__")}
    body = {
        name: noted(f"{owner}.{name}", value, calls, failing) if callable(value) else value
        for name, value in (members | attributes).items()
        if f"{owner}.{name}" not in lacking
    }
    return type(kind.__name__, (), body)()


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., Any]:
    """`ask(running, route)`: the request of requests.yaml for a route, and its answer."""
    requests = yaml.safe_load((Path(__file__).parent / "requests.yaml").read_text())

    def send(running: Any, route: str) -> Any:
        request = requests.get(route, {})
        method, path = route.replace("<name>", "LocalDiskBackend").split(" ")
        headers = {"Content-Type": request["type"]} if "type" in request else {}
        body = request.get("body", "").replace("FOLDER", str(tmp_path))
        return running.request(method, f"{path}?{request.get('query', '')}", body or None, headers)

    return send


@pytest.fixture
def stand_in(tmp_path: Path) -> Callable[..., tuple[Any, Calls]]:
    """`stand_in(*lacking, role="worker", failing=False)`: a manager without those members, and the calls on it.

    Members are named as the pages name them: `manager.kv_caches`, `engine.freeze`, `storage.list_backends`,
    `statistics.start_statistics`. On a failing one every method raises `boom: ` and its name.
    """

    def make(*lacking: str, role: str = "worker", failing: bool = False) -> tuple[Any, Calls]:
        calls: Calls = []
        about = {"calls": calls, "lacking": lacking, "failing": failing}
        config = SimpleNamespace(
            internal_api_server_enabled=True,
            internal_api_server_socket_path_prefix=str(tmp_path / "stand-in"),
            chunk_size=16,
            extra_config={"internal_api_server_config_folders": [str(tmp_path)]},
        )
        (tmp_path / "store.yaml").write_text("remote_url: fs://localhost:0/nowhere\n")
        metadata = SimpleNamespace(role=role, worker_id=0)
        storage = part(Storage, "storage", **about)
        engine = {"config": config, "metadata": metadata, "storage_manager": storage}
        layers: dict[str, Any] = {f"layer.{n}": np.zeros((4, 8, 2), np.float32) for n in range(2)}
        if failing:
            layers, engine["kvcache_check_log_enabled"] = {"layer": object()}, Unreadable()
        manager = part(
            Manager if role == "worker" else SchedulerManager,
            "manager",
            **about,
            config=config,
            lmcache_engine=part(Engine, "engine", **about, **engine),
            lmcache_engine_metadata=metadata,
            kv_caches=layers,
            lookup_client=part(Statistics, "statistics", **about),
        )
        return manager, calls

    return make
