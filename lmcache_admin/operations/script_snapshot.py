"""What a script in a process of its own is told of the engine: a copy, for it has no hands on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lmcache_admin._version import __version__
from lmcache_admin.host.protocols import Engine, Manager, Runtime
from lmcache_admin.operations import conf


@dataclass(frozen=True)
class Sources:
    """Where a snapshot is taken from.

    Args:
        manager: The host, or None.
        runtime: What the process offers beside it.
        definitions: Keys of the configuration.
        status: Returns the report of `/readyz`.
        mask: Takes secrets out of a structure, and makes it one that JSON has a form for.
    """

    manager: Manager | None
    runtime: Runtime
    definitions: conf.Definitions
    status: Callable[[], Mapping[str, Any]]
    mask: Callable[[Any], Any]


def take(sources: Sources) -> Any:
    """Return the snapshot; what the host does not tell is `{"error": why}`, what it lacks is null."""
    manager = sources.manager
    engine: Engine | None = getattr(manager, "lmcache_engine", None) or None
    config, metadata = getattr(manager, "config", None), getattr(manager, "lmcache_engine_metadata", None)
    parts: dict[str, Callable[[], Any]] = {
        "version": lambda: {"lmcache_admin": __version__, "lmcache": sources.runtime.versions()[0]},
        "configuration": lambda: config and conf.read(config, sources.definitions, None),
        "metadata": lambda: metadata and conf.attributes(metadata, None),
        "backends": lambda: engine and _backends(engine),
        "frozen": lambda: engine and engine.is_frozen(),
        "hot_cache": lambda: engine and engine.is_hot_cache_enabled(),
        "status": sources.status,
    }
    return sources.mask({name: _told(tell) for name, tell in parts.items()})


def _backends(engine: Engine) -> dict[str, Any] | None:
    storage = engine.storage_manager
    if storage is None:
        return None
    return {"classes": dict(storage.list_backends()), "bypassed": list(storage.get_bypassed_backends())}


def _told(tell: Callable[[], Any]) -> Any:
    try:
        return tell()
    except Exception as error:  # noqa: BLE001 - whatever one part of a host raises, the script may want the others
        return {"error": f"{type(error).__name__}: {error}"}
