"""Creating LMCache's backends at run time, so that search order and memory are afterwards as after a start."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from lmcache_admin.errors import Conflict
from lmcache_admin.integrations.lmcache_closing import let_close, parts

__all__ = ["allocator", "close", "create", "is_lmcache", "recreate"]

#: LMCache's search order, which is fixed; plug-ins come after it.
_ORDER = (
    "PDBackend",
    "LocalCPUBackend",
    "P2PBackend",
    "NixlStorageBackend",
    "LocalDiskBackend",
    "GdsBackend",
    "MaruBackend",
)
#: Backends that hand addresses of the allocator's memory to others.
_REGISTERING = ("P2PBackend", "NixlStorageBackend")


def is_lmcache(storage: object) -> bool:
    """Whether a storage manager is LMCache's; whose module need not be imported to say no."""
    module = sys.modules.get("lmcache.v1.storage_backend.storage_manager")
    return module is not None and isinstance(storage, module.StorageManager)


def allocator(storage: Any) -> str | None:
    """Name of the backend that allocates the memory of the others."""
    held = storage.allocator_backend
    return next((name for name, backend in list(storage.storage_backends.items()) if backend is held), None)


def close(storage: Any, name: str) -> bool:
    """Close a backend."""
    let_close(storage.storage_backends.get(name))
    closed: bool = storage.close_backend(name)
    return closed


def create(storage: Any) -> Mapping[str, str]:
    """Create what is missing, each in its place of the search order, where LMCache puts new ones at the end."""
    try:
        created: Mapping[str, str] = storage.create_backends()
    finally:
        _arrange(storage)
    return created


def recreate(storage: Any, name: str) -> Mapping[str, str]:
    """Close and create a backend in its place; a new allocator is given to all that use the old one.

    LMCache leaves those with the old one, whose memory is free. What is being stored or retrieved meanwhile still
    uses that memory.

    Raises:
        Conflict: Another backend has told the network card where the old memory is.
    """
    old = storage.storage_backends.get(name)
    bound = [other for other in _REGISTERING if other in storage.storage_backends]
    if bound and name == allocator(storage):
        raise Conflict(f"{bound[0]} has registered the memory that {name} allocates; nothing was closed.")
    let_close(old)
    try:
        created: Mapping[str, str] = storage.recreate_backend(name)
    finally:
        _arrange(storage)
        _hand_over(storage, old, storage.storage_backends.get(name))
    return created


def _arrange(storage: Any) -> None:
    """Put the backends into LMCache's order, in a new table: threads of the engine may be reading the old one."""
    config = storage.config
    remote = [f"RemoteBackend-{plugin}" for plugin in config.remote_storage_plugins or ()]
    order = [*_ORDER, *remote, "RemoteBackend", *(config.storage_plugins or ())]
    with storage.manager_lock:
        present = storage.storage_backends
        names = sorted(present, key=lambda name: order.index(name) if name in order else len(order))
        if names != list(present):
            storage.storage_backends = OrderedDict((name, present[name]) for name in names)


def _hand_over(storage: Any, old: Any, new: Any) -> None:
    if old is None or new is None or old is new:
        return
    if storage.allocator_backend is old:
        storage.allocator_backend = new
    for backend in list(storage.storage_backends.values()):
        for part in parts(backend):
            if getattr(part, "local_cpu_backend", None) is old:
                part.local_cpu_backend = new
