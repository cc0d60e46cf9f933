"""The runtime of a process without LMCache: our own versions, no periodic threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from lmcache_admin._version import __version__
from lmcache_admin.host.protocols import Manager, PeriodicThreads

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


def _probe_backend(storage: Any, name: str, frozen: bool) -> Outcome:
    if frozen:
        return "skipped", "frozen"
    result = storage.probe_backend(name)
    return result.status, result.message
