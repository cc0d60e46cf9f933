"""Run by an interpreter with LMCache, once for all tests of test_lmcache_process.py: prints facts as JSON.

Engines of LMCache's standalone starter are built in one process, because starting a process takes ten seconds.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lmcache_surface import lacking, protocols_of
from lmcache_window import window_facts

from lmcache_admin.engine import Configuration, Manager
from lmcache_admin.integrations import vllm as plugin
from lmcache_admin.integrations.lmcache_runtime import LMCacheRuntime

FACTORIES = ("lmcache.v1.standalone.standalone_service_factory", "lmcache.integration.vllm.vllm_service_factory")
SPEC = "(2,2,256,4,16):float16:2"


def built(folder: Path, worker_id: int = 0, **configuration: Any) -> Any:
    """LMCache's starter with an engine, and the server that LMCache's factory built for it; nothing is started."""
    import torch
    from lmcache.v1.config import LMCacheEngineConfig
    from lmcache.v1.metadata import LMCacheMetadata
    from lmcache.v1.standalone import __main__ as standalone

    disk = Path(tempfile.mkdtemp(dir=folder))
    values = {
        "chunk_size": 16,
        "local_cpu": True,
        "max_local_cpu_size": 0.02,
        "local_disk": f"{disk}/",
        "max_local_disk_size": 0.02,
        "internal_api_server_enabled": True,
        "internal_api_server_port_start": unused_port() - 1 - worker_id,
        **configuration,
    }
    file = disk / "lmcache.yaml"
    file.write_text(json.dumps(values))
    shape = (2, 2, 256, 4, 16)
    metadata = LMCacheMetadata("model", 1, 1, worker_id, worker_id, torch.float16, shape, use_mla=False, role="worker")
    return standalone.LMCacheStandaloneStarter(
        LMCacheEngineConfig.from_file(str(file)), metadata, standalone.parse_kvcache_shape_spec(SPEC)
    )


@contextlib.contextmanager
def engine(folder: Path, worker_id: int = 0, **configuration: Any) -> Iterator[Any]:
    """A started engine with its server; yields its manager."""
    starter = built(folder, worker_id, **configuration)
    starter.start()
    try:
        yield starter._manager
    finally:
        starter.stop()


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def about(manager: Any) -> dict[str, Any]:
    """How server and engine are, and whether a store really keeps something."""
    import torch

    server, cache = manager.api_server, manager.lmcache_engine
    cache.store(tokens=list(range(40)), slot_mapping=torch.arange(40), kvcaches=None, req_id="scenario")
    found = cache.retrieve(tokens=list(range(40)), slot_mapping=torch.arange(40), kvcaches=None, req_id="scenario")
    return {
        "class": type(server).__module__ + "." + type(server).__name__,
        "enable": server.enable,
        "error": getattr(server, "error", None),
        "healthy": manager.is_healthy(),
        "kept": int(found.sum().item()),
    }


def plugin_facts() -> dict[str, Any]:
    """vLLM's plugin: nothing is imported for it, and both factories build ours afterwards."""
    plugin.register()
    plugin.register()
    before = sorted(name for name in sys.modules if name == "lmcache" or name.startswith(("lmcache.", "torch")))
    names = [importlib.import_module(name).InternalAPIServer for name in FACTORIES]
    return {
        "imported": before,
        "finders": sum(type(finder).__module__ == "lmcache_admin.integrations.lmcache" for finder in sys.meta_path),
        "servers": [f"{server.__module__}.{server.__name__}" for server in names],
        "not imported": [name for name in ("fastapi", "uvicorn") if name not in sys.modules],
    }


def vllm_facts() -> dict[str, Any]:
    """What LMCache's factory for vLLM builds in a scheduler, by configuration and data-parallel rank."""
    from lmcache.v1.config import LMCacheEngineConfig

    factory = importlib.import_module(FACTORIES[1]).VllmServiceFactory
    cases: dict[str, tuple[int, dict[str, Any]]] = {
        "enabled": (0, {"internal_api_server_enabled": True}),
        "not enabled": (0, {}),
        "not replaced": (
            0,
            {"internal_api_server_enabled": True, "extra_config": {"internal_api_server_replace": False}},
        ),
        "rank 1": (1, {"internal_api_server_enabled": True}),
    }
    facts = {}
    for name, (rank, values) in cases.items():
        config = LMCacheEngineConfig.from_defaults(**{"internal_api_server_port_start": unused_port(), **values})
        vllm = SimpleNamespace(parallel_config=SimpleNamespace(data_parallel_rank_local=rank))
        manager = SimpleNamespace(config=config, lmcache_engine=None, lmcache_engine_metadata=None)
        server = factory(config, vllm, "scheduler").maybe_create_internal_api_server(manager)
        facts[name] = None if server is None else [type(server).__name__, server.enable]
    return facts


def probe_facts(folder: Path) -> dict[str, Any]:
    """What the probes say while the engine is well, frozen, bypassed, short of a backend, and without its folder."""
    facts: dict[str, Any] = {}
    with engine(folder, internal_api_server_enabled=False) as manager:
        cache, storage = manager.lmcache_engine, manager.lmcache_engine.storage_manager

        def never(*_: Any, **__: Any) -> None:
            raise AssertionError("a probe must not touch live KV slots")

        own = cache.store, cache.retrieve
        cache.store = cache.retrieve = never  # the one way to see that no probe calls them

        def results() -> dict[str, Any]:
            return {name: call() for name, call in LMCacheRuntime().probes(manager).items()}

        facts["well"] = results()
        cache.freeze(True)
        facts["frozen"] = results()
        cache.freeze(False)
        storage.set_backend_bypass("LocalDiskBackend", True)
        facts["bypassed"] = results()
        storage.set_backend_bypass("LocalDiskBackend", False)
        kept = storage.storage_backends["LocalDiskBackend"]
        kept.path, path = str(folder / "gone"), kept.path
        facts["folder gone"] = results()
        kept.path = path
        probes = LMCacheRuntime().probes(manager)
        storage.close_backend("LocalDiskBackend")
        facts["closed since"] = probes["LocalDiskBackend"]()
        facts["in memory"] = len(storage.storage_backends["LocalCPUBackend"].hot_cache)
        cache.store, cache.retrieve = own
        cache.mark_init_failed("scenario")
        facts["unwell"] = results()
    embedded = Manager(Configuration.from_mapping({"chunk_size": 16, "max_local_cpu_size": 0.01}, {}))
    embedded.start()
    facts["embedded engine"] = {name: call() for name, call in LMCacheRuntime().probes(embedded).items()}
    embedded.stop()
    return facts


def thread_facts() -> dict[str, Any]:
    """Whether a periodic thread that failed for good, one that was stopped and one that never ran count as dead."""
    from lmcache.v1.exceptions import IrrecoverableException
    from lmcache.v1.periodic_thread import PeriodicThreadRegistry, ThreadRunSummary, create_periodic_thread

    def fail() -> ThreadRunSummary:
        raise IrrecoverableException("scenario")

    failing = create_periodic_thread("failing", 60, fail)
    stopped = create_periodic_thread("stopped", 60, ThreadRunSummary)
    create_periodic_thread("never", 60, ThreadRunSummary)
    thread = failing.start()
    assert thread is not None
    thread.join()
    stopped.start()
    stopped.stop()
    registry = LMCacheRuntime().periodic_threads()
    assert registry is not None
    facts = {name: registry.get(name).get_status()["died"] for name in ("failing", "stopped", "never")}
    facts["unknown"] = registry.get("nobody")
    for name in ("failing", "stopped", "never"):
        PeriodicThreadRegistry.get_instance().unregister(name)
    return facts


def surface_facts(folder: Path) -> dict[str, Any]:
    """What each part of a live engine lacks of its protocol, and which protocols have no part here."""
    import torch
    from lmcache.v1.cache_controller.utils import RegistryTree
    from lmcache.v1.lookup_client.chunk_statistics_lookup_client import ChunkStatisticsLookupClient
    from lmcache.v1.periodic_thread import PeriodicThreadRegistry

    from lmcache_admin.host import optional, protocols

    known = {**protocols_of(protocols), **protocols_of(optional)}
    with engine(folder, internal_api_server_enabled=False) as manager:
        cache = manager.lmcache_engine
        live = {
            "Manager": manager,
            "LookupManager": manager,
            "LookupOwner": manager,
            "StatisticsClient": ChunkStatisticsLookupClient(None, manager.config),
            "Engine": cache,
            "Healthy": cache,
            "StorageManager": cache.storage_manager,
            "Allocating": cache.storage_manager,
            "Opened": cache.storage_manager,
            "Configuration": manager.config,
            "Metadata": manager.lmcache_engine_metadata,
            "Connector": cache.gpu_connector,
            "Mask": torch.ones(1, dtype=torch.bool),
            "Registry": RegistryTree(),
            "PeriodicThreads": PeriodicThreadRegistry.get_instance(),
        }
        found = {name: lacking(known[name], part) for name, part in live.items()}
    compared = {name: faults for name, faults in found.items() if faults}
    return {"lacking": compared, "not compared": sorted(known.keys() - found.keys())}


def address_facts(folder: Path) -> dict[str, Any]:
    """Servers that cannot serve, and one that an operator has sent away."""
    facts: dict[str, Any] = {}
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        with engine(folder, internal_api_server_port_start=port - 1) as manager:
            facts["port in use"] = {**about(manager), "port": port}
    with engine(folder, internal_api_server_port_start=70000) as manager:
        facts["bad port"] = about(manager)
    with engine(folder, extra_config={"internal_api_server_local_user": "any"}) as manager:
        facts["unknown key"] = about(manager)
    with engine(folder, internal_api_server_host="0.0.0.0") as manager:
        facts["policy"] = about(manager)
    with engine(folder, worker_id=3, internal_api_server_include_index_list="4") as manager:
        facts["worker 3"] = {**about(manager), "port": manager.api_server.port}
        facts["worker 3"]["expected"] = manager.config.internal_api_server_port_start + 4
    with engine(folder, extra_config={"internal_api_server_replace": False}) as manager:
        facts["replaced not"] = about(manager)
    os.environ["LMCACHE_INTERNAL_API_SERVER_REPLACE"] = "false"
    with engine(folder) as manager:
        facts["replaced not by variable"] = about(manager)
    del os.environ["LMCACHE_INTERNAL_API_SERVER_REPLACE"]
    return facts


if __name__ == "__main__":
    out = os.dup(1)
    os.dup2(2, 1)  # LMCache's log goes to stderr; stdout is for the facts
    root = Path(sys.argv[1])
    facts = {
        "plugin": plugin_facts(),
        "vllm": vllm_facts(),
        "window": window_facts(built(root)),
        "addresses": address_facts(root),
        "probes": probe_facts(root),
        "threads": thread_facts(),
        "surface": surface_facts(root),
    }
    with os.fdopen(out, "w") as stream:
        json.dump(facts, stream)
