"""The engine's backends: list, close, create, recreate."""

from functools import partial
from typing import Any

from lmcache_admin.blueprint import AdminBlueprint, Work
from lmcache_admin.host.current import current_runtime, current_storage, note_change
from lmcache_admin.host.protocols import StorageManager
from lmcache_admin.operations import backend

blueprint = AdminBlueprint("backend", unavailable="/backends API is unavailable")


@blueprint.get("/backends", operation="list backends", role="viewer", lane="read", quick=True)
def list_backends() -> dict[str, str]:
    """Return name and class of each backend, in search order."""
    return backend.classes(_storage())


@blueprint.post("/backends", operation="create backends", role="operator", lane="change")
def create_backends() -> dict[str, Any]:
    """Create what the configuration names and is missing."""
    return backend.create(current_runtime(), _storage(), note_change)


@blueprint.delete("/backends/<name>", operation="close backend", role="operator", lane="change", destructive=True)
def close_backend(name: str) -> dict[str, Any]:
    """Close a backend and take it out; not the one that allocates the memory."""
    return backend.close(current_runtime(), _storage(), name, note_change)


@blueprint.post(
    "/backends/<name>/recreate", operation="recreate backend", role="operator", lane="job", destructive=True
)
def recreate_backend(name: str) -> Work:
    """Close a backend and create it again from the configuration, at its place in the order."""
    return Work(partial(backend.recreate, current_runtime(), _storage(), name))


def _storage() -> StorageManager:
    return current_storage("LMCache engine not configured.")
