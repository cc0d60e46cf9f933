"""The runtime of a process without LMCache: our own versions, no periodic threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

from lmcache_admin._version import __version__
from lmcache_admin.host.optional import Loading, Probed
from lmcache_admin.host.protocols import ChunkSource, Engine, LookupManager, Manager, PeriodicThreads, StorageManager

#: What a probe answers: (status, message); status is ok, failed or skipped.
Outcome = tuple[str, str]


class PlainRuntime:
    """`Runtime` where nothing but the manager itself is known."""

    def versions(self) -> tuple[str, str]:
        """Return our version; without a build of LMCache there is no commit to name."""
        return __version__, "lmcache-admin"

    def periodic_threads(self) -> PeriodicThreads | None:
        """Return None: only LMCache registers periodic threads."""
        return None

    def reset_metrics(self) -> None:
        """Do nothing: there is no metrics logger to reset."""

    def allocator(self, storage: StorageManager) -> str | None:
        """Return the first backend of the allocator's class."""
        allocator = getattr(storage, "allocator_backend", None)
        if allocator is None:
            return None
        kind = type(allocator).__name__
        return next((name for name, found in storage.list_backends().items() if found == kind), None)

    def close_backend(self, storage: StorageManager, name: str) -> bool:
        """Let the storage manager do it."""
        return storage.close_backend(name)

    def create_backends(self, storage: StorageManager) -> Mapping[str, str]:
        """Let the storage manager do it, and put new ones where it will."""
        return storage.create_backends()

    def recreate_backend(self, storage: StorageManager, name: str) -> Mapping[str, str]:
        """Let the storage manager do it, and put the new one where it will."""
        return storage.recreate_backend(name)

    def describe_lookup(self, manager: LookupManager, side: str) -> Mapping[str, Any] | None:
        """Return None: the host has to be asked."""
        return None

    def open_chunk_source(self, engine: Engine, store: Mapping[str, Any]) -> ChunkSource | None:
        """Let the engine open it."""
        return cast(Loading, engine).open_chunk_source(store)  # a stranger's may not offer that, and is then told so

    def probes(self, manager: Manager) -> Mapping[str, Callable[[], Outcome]]:
        """Return a probe per backend if the engine's storage offers `probe_backend`, else of `is_healthy`."""
        engine = getattr(manager, "lmcache_engine", None)
        if not engine:
            return {}
        storage: Any = getattr(engine, "storage_manager", None)
        probes: dict[str, Callable[[], Outcome]] = {}
        if hasattr(storage, "probe_backend"):
            frozen = engine.is_frozen()
            for name in storage.get_all_backend_names():
                probes[name] = partial(_probe_backend, storage, name, frozen)
        elif callable(getattr(engine, "is_healthy", None)):
            probes["engine"] = lambda: ("ok", "") if engine.is_healthy() else ("failed", "is_healthy() is false")
        return probes


def _probe_backend(storage: Probed, name: str, frozen: bool) -> Outcome:
    if frozen:
        return "skipped", "frozen"
    result = storage.probe_backend(name)
    return result.status, result.message
