"""What a process with LMCache offers beside the manager: versions, periodic threads, metrics, probes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from lmcache_admin.host.plain import Outcome, PlainRuntime
from lmcache_admin.host.protocols import ChunkSource, Engine, LookupManager, Manager, PeriodicThreads, StorageManager
from lmcache_admin.integrations import lmcache_backends as backends
from lmcache_admin.integrations.lmcache_chunks import open_source
from lmcache_admin.integrations.lmcache_lookup import describe_lookup

__all__ = ["LMCacheRuntime"]

#: Model name of the key that probes ask for; no chunk has it.
PROBE_MODEL = "lmcache-admin-probe"


class LMCacheRuntime(PlainRuntime):
    """`Runtime` of a process that has imported LMCache."""

    def versions(self) -> tuple[str, str]:
        """Return LMCache's version and commit; `NA` for what its build does not know."""
        from lmcache import utils

        return str(utils.VERSION or "NA"), str(utils.COMMIT_ID or "NA")

    def periodic_threads(self) -> PeriodicThreads | None:
        """Return LMCache's registry, whose threads also tell whether they have died."""
        from lmcache.v1.periodic_thread import PeriodicThreadRegistry

        return _Registry(PeriodicThreadRegistry.get_instance())

    def reset_metrics(self) -> None:
        """Set LMCache's counters and histograms back, by its own function."""
        from lmcache.observability import reset_observability_metrics

        reset_observability_metrics()

    def probes(self, manager: Manager) -> Mapping[str, Callable[[], Outcome]]:
        """Return a probe of the engine, of its health monitor and of each backend.

        None of them stores or retrieves: in a model that serves, both go through live KV slots.
        """
        engine: Any = manager.lmcache_engine
        storage: Any = getattr(engine, "storage_manager", None)
        if not hasattr(storage, "storage_backends"):  # a manager that is not LMCache's
            return super().probes(manager)
        probes: dict[str, Callable[[], Outcome]] = {"engine": partial(_probe_engine, manager)}
        monitor = getattr(manager, "health_monitor", None)
        if monitor is not None:
            probes["health_monitor"] = partial(_probe_monitor, monitor)
        for name in storage.get_all_backend_names():
            probes[name] = partial(_probe_backend, engine, storage, name)
        return probes

    def allocator(self, storage: StorageManager) -> str | None:
        """Return the backend that allocates, told by identity where the storage manager is LMCache's."""
        return backends.allocator(storage) if backends.is_lmcache(storage) else super().allocator(storage)

    def close_backend(self, storage: StorageManager, name: str) -> bool:
        """Close a backend, also one whose own closing would block LMCache."""
        return backends.close(storage, name) if backends.is_lmcache(storage) else super().close_backend(storage, name)

    def create_backends(self, storage: StorageManager) -> Mapping[str, str]:
        """Create what is missing, in LMCache's own search order."""
        return backends.create(storage) if backends.is_lmcache(storage) else super().create_backends(storage)

    def recreate_backend(self, storage: StorageManager, name: str) -> Mapping[str, str]:
        """Close and create a backend, in its place of LMCache's search order."""
        if not backends.is_lmcache(storage):
            return super().recreate_backend(storage, name)
        return backends.recreate(storage, name)

    def describe_lookup(self, manager: LookupManager, side: str) -> Mapping[str, Any] | None:
        """Return what LMCache would make, without making it."""
        return describe_lookup(manager, side)

    def open_chunk_source(self, engine: Engine, store: Mapping[str, Any]) -> ChunkSource | None:
        """Open the store by LMCache's own backend, whose chunks go into LMCache's memory."""
        storage = engine.storage_manager
        if storage is None or not backends.is_lmcache(storage):
            return super().open_chunk_source(engine, store)
        return open_source(engine, store)


class _Registry:
    """LMCache's registry of periodic threads, each told apart as running, stopped or dead."""

    def __init__(self, registry: Any) -> None:
        self._registry = registry

    def get_all(self) -> Sequence[Any]:
        return [_Thread(thread) for thread in self._registry.get_all()]

    def get(self, name: str, /) -> Any:
        thread = self._registry.get(name)
        return None if thread is None else _Thread(thread)

    def get_summary(self) -> Mapping[str, Any]:
        summary: Mapping[str, Any] = self._registry.get_summary()
        return summary


class _Thread:
    """A periodic thread of LMCache."""

    def __init__(self, thread: Any) -> None:
        self._thread = thread

    def get_status(self) -> dict[str, Any]:
        """What LMCache tells, and `died`: it was started, nobody asked it to stop, and it is gone."""
        thread = self._thread
        started = thread.total_runs > 0 or getattr(thread, "_thread", None) is not None
        died = started and not thread.is_running and not thread.stop_requested
        return {**thread.get_status(), "died": died}


def _probe_engine(manager: Any) -> Outcome:
    return ("ok", "") if manager.is_healthy() else ("failed", "is_healthy() is false")


def _probe_monitor(monitor: Any) -> Outcome:
    summary = monitor.last_summary
    message = summary.message if summary is not None else ""
    if not monitor.is_healthy():
        return "failed", message
    if _Thread(monitor).get_status()["died"]:
        return "failed", "its thread has died"
    if not monitor.is_running:
        return "skipped", message
    bypassed = summary.extra_info.get("bypassed_backends", "0") if summary is not None else "0"
    return "ok", message if bypassed == "0" else f"{message}; backends bypassed: {bypassed}"


def _probe_backend(engine: Any, storage: Any, name: str) -> Outcome:
    if engine.is_frozen():
        return "skipped", "frozen"
    if storage.is_backend_bypassed(name):
        return "skipped", "bypassed"
    backend = storage.storage_backends.get(name)
    if backend is None:
        return "skipped", "closed"
    if getattr(backend, "connection", backend) is None:  # its contains() would only say "not there"
        return "failed", "no connection"
    folder = getattr(backend, "path", None) if name == "LocalDiskBackend" else None
    if folder is not None and not os.access(folder, os.W_OK | os.X_OK):  # its contains() asks its memory alone
        return "failed", f"the folder {folder} cannot be written"
    backend.contains(_reserved_key(engine.metadata))
    return "ok", ""


def _reserved_key(metadata: Any) -> Any:
    from lmcache.utils import CacheEngineKey

    return CacheEngineKey(PROBE_MODEL, metadata.world_size, metadata.worker_id, 0, metadata.kv_dtype)
