"""Run by an interpreter with LMCache, once for all tests of test_lmcache_changes.py: prints facts as JSON.

Backends and lookup clients are closed and made over HTTP in a live engine and in a live scheduler.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lmcache_scenarios import engine

from lmcache_admin import InternalAPIServer
from lmcache_admin.cli.api import UnixConnection
from lmcache_admin.integrations import vllm as plugin
from lmcache_admin.integrations.lmcache_lookup import describe_lookup

#: Settings that decide which lookup client is made, besides those that make an asynchronous one.
CLIENTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "limited": {"hit_miss_ratio": 0.5},
    "limit out of range": {"hit_miss_ratio": 2},
    "statistics": {"enable_chunk_statistics": True},
    "statistics of limited": {"enable_chunk_statistics": True, "hit_miss_ratio": 0},
    "bypass without an engine": {"enable_scheduler_bypass_lookup": True},
    "external and asynchronous": {"external_lookup_client": "mooncakestore://x", "enable_async_loading": True},
    "external without a scheme": {"external_lookup_client": "x"},
    "external of another scheme": {"external_lookup_client": "redis://x"},
}
#: Settings that decide which lookup server is made, and the worker that asks.
SERVERS: dict[str, tuple[dict[str, Any], int]] = {
    "plain": ({}, 0),
    "external": ({"external_lookup_client": "mooncakestore://x"}, 0),
    "chosen worker": ({"lookup_server_worker_ids": "1"}, 1),
    "other worker": ({"lookup_server_worker_ids": "1"}, 0),
}
ASYNCHRONOUS = {"enable_async_loading": True}


def scheduler(role: str = "scheduler", worker_id: int = 0, engine_id: str | None = "scenario", **settings: Any) -> Any:
    """LMCache's manager without an engine, and with the lookup client that its factory makes."""
    import torch
    from lmcache.v1.config import LMCacheEngineConfig
    from lmcache.v1.manager import LMCacheManager
    from lmcache.v1.metadata import LMCacheMetadata
    from lmcache.v1.standalone.standalone_service_factory import StandaloneServiceFactory

    class Factory(StandaloneServiceFactory):  # type: ignore[misc]  # LMCache's types are not there
        def get_or_create_lmcache_engine(self) -> None:
            return None

    values = {"chunk_size": 16, "lookup_timeout_ms": 10000, **settings}
    config = LMCacheEngineConfig.from_dict(values)
    metadata = LMCacheMetadata(
        "model", 2, 2, worker_id, worker_id, torch.float16, (2, 2, 16, 4, 16), role=role, engine_id=engine_id
    )
    return LMCacheManager(config, Factory(config, metadata, None, None, None))


def said(call: Any) -> str:
    """What a call answers, or that it failed."""
    try:
        answer: Any = call()
    except (AssertionError, ValueError):
        return "fails"
    return str(answer)


def described(manager: Any, side: str) -> str:
    """What we say would be made."""
    return said(lambda: (describe_lookup(manager, side) or {})["new"])


def client_facts(settings: dict[str, Any], close: bool = True, **about: Any) -> dict[str, str]:
    """What we say of a client, and what LMCache really makes."""
    manager = scheduler(**settings, **about)
    facts = {"described": described(manager, "client"), "made": said(lambda: manager.create_lookup_client()["new"])}
    if close:
        manager.close_lookup_client()
    return facts


def server_facts(settings: dict[str, Any], worker_id: int, **about: Any) -> dict[str, str]:
    """What we say of a server, and what LMCache really makes."""
    manager = scheduler(role="worker", worker_id=worker_id, **settings, **about)
    manager._lmcache_engine = SimpleNamespace(config=manager.config)
    facts = {"described": described(manager, "server"), "made": said(lambda: manager.create_lookup_server()["new"])}
    manager.close_lookup_server()
    return facts


def refusal_facts() -> dict[str, list[Any]]:
    """What we answer where nothing can be made, and what LMCache answers."""
    without_engine, without_metadata = scheduler(role="worker"), scheduler()
    without_metadata._lmcache_engine_metadata = None
    return {
        "described": [describe_lookup(without_engine, "server"), describe_lookup(without_metadata, "client")],
        "made": [without_engine.create_lookup_server(), without_metadata.create_lookup_client()],
    }


def lookup_facts(folder: Path) -> dict[str, Any]:
    """A scheduler with a live client, whose lookup is answered by two live servers, under requests of an operator."""
    from lmcache.v1.lookup_client.factory import LookupClientFactory

    prefix = str(folder / "api")
    settings = {"internal_api_server_enabled": True, "internal_api_server_socket_path_prefix": prefix}
    manager = scheduler(enable_chunk_statistics=True, **settings)
    servers = []
    for worker_id in (0, 1):
        worker = scheduler(role="worker", worker_id=worker_id)
        cache = SimpleNamespace(config=worker.config, lookup=lambda **_: 32)
        servers.append(LookupClientFactory.create_lookup_server(cache, worker.lmcache_engine_metadata))
    server = InternalAPIServer(manager)
    server.start()
    steps: list[Any] = []

    def ask(method: str, path: str) -> None:
        connection = UnixConnection(server.socket_path or "", 30.0)
        connection.request(method, path)
        answer = connection.getresponse()
        steps.append([f"{method} {path}", answer.status, json.loads(answer.read())])
        connection.close()

    def look_up(name: str) -> None:
        client = manager.lookup_client
        steps.append(["lookup", client.lookup(list(range(40)), name) if client else None])

    ask("POST", "/lookup/create")
    look_up("first")
    for _ in range(3):
        ask("POST", "/lookup/create?dryrun=true")
    look_up("second")
    ask("POST", "/chunk_statistics/start")
    look_up("third")
    ask("GET", "/chunk_statistics/status")
    ask("POST", "/lookup/recreate")
    look_up("fourth")
    ask("POST", "/lookup/close")
    look_up("fifth")
    ask("POST", "/lookup/recreate")
    ask("GET", "/lookup/info")
    server.stop()
    for live in servers:
        live.close()
    return {"steps": steps}


def backend_facts(folder: Path) -> dict[str, Any]:
    """A live engine with three backends, each recreated; what is stored and found after each step."""
    import torch

    remote = Path(tempfile.mkdtemp(dir=folder))
    with engine(folder, remote_url=f"fs://localhost:0{remote}/", remote_serde="naive") as manager:
        cache = manager.lmcache_engine
        storage = cache.storage_manager
        steps: list[Any] = []

        def ask(method: str, path: str) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", manager.api_server.port, timeout=30)
            connection.request(method, path)
            answer = connection.getresponse()
            body = json.loads(answer.read())
            first = 1000 * (len(steps) + 1)
            tokens, slots = list(range(first, first + 40)), torch.arange(40)
            cache.store(tokens=tokens, slot_mapping=slots, kvcaches=None, req_id="scenario")
            found = int(cache.retrieve(tokens=tokens, slot_mapping=slots, kvcaches=None, req_id="scenario").sum())
            memory = storage.storage_backends["LocalCPUBackend"]
            holders = [b for b in storage.storage_backends.values() if hasattr(b, "local_cpu_backend")]
            holders += [b.connection._connector for b in holders if hasattr(b, "connection")]
            steps.append(
                {
                    "asked": f"{method} {path}",
                    "status": answer.status,
                    "body": body,
                    "order": list(storage.storage_backends),
                    "allocates": storage.allocator_backend is memory,
                    "known to": [type(b).__name__ for b in holders if b.local_cpu_backend is memory],
                    "found": found,
                }
            )

        ask("GET", "/backends")
        for name in ("LocalDiskBackend", "LocalCPUBackend", "RemoteBackend"):
            ask("POST", f"/backends/{name}/recreate")
        ask("DELETE", "/backends/LocalCPUBackend")
        ask("DELETE", "/backends/LocalDiskBackend")
        ask("POST", "/backends")
        backends = storage.storage_backends
        backends["P2PBackend"] = backends["LocalDiskBackend"]  # a stand-in: the real one needs another host
        ask("POST", "/backends/LocalCPUBackend/recreate")
        del backends["P2PBackend"]
        manager.config.remote_url = "nonsense"
        manager.config.remote_serde = None
        ask("POST", "/backends/RemoteBackend/recreate")
    return {"steps": steps}


def facts(folder: Path) -> dict[str, Any]:
    """All facts; asynchronous clients come last, because closing one may end the process."""
    plugin.register()
    return {
        "clients": {
            **{name: client_facts(settings) for name, settings in CLIENTS.items()},
            "no engine id": client_facts({}, engine_id=None),
        },
        "servers": {
            **{name: server_facts(settings, worker_id) for name, (settings, worker_id) in SERVERS.items()},
            "no engine id": server_facts({}, 0, engine_id=None),
        },
        "refusals": refusal_facts(),
        "lookup": lookup_facts(folder),
        "backends": backend_facts(folder),
        "asynchronous client": client_facts(ASYNCHRONOUS, close=False),
        "asynchronous client without engine id": client_facts(ASYNCHRONOUS, close=False, engine_id=None),
    }


if __name__ == "__main__":
    out = os.dup(1)
    os.dup2(2, 1)  # LMCache's log goes to stderr; stdout is for the facts
    with os.fdopen(out, "w") as stream:
        json.dump(facts(Path(sys.argv[1])), stream)
    os._exit(0)  # threads of asynchronous clients never end
