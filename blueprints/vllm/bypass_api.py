"""Backends that are left out of store, lookup and retrieve."""

from typing import Any

from lmcache_admin.blueprint import AdminBlueprint, Schema, fields
from lmcache_admin.host.current import current_storage, note_change
from lmcache_admin.operations import bypass

blueprint = AdminBlueprint("bypass", unavailable="Bypass API is unavailable")


class BackendQuery(Schema):
    backend_name = fields.Text(load_default="", metadata={"description": "The backend's name, as /backends has it."})


@blueprint.get("/bypass/list", operation="list bypassed backends", role="viewer", lane="read", quick=True)
def list_bypassed_backends() -> dict[str, Any]:
    """Return the backends that are left out, and all that there are."""
    return bypass.describe(current_storage())


@blueprint.put("/bypass/add", operation="add bypass backend", role="operator", lane="change")
@blueprint.arguments(BackendQuery, location="query")
def add_bypass_backend(query: dict[str, str]) -> dict[str, Any]:
    """Leave a backend out, until it is taken in again."""
    return bypass.add(current_storage(), query["backend_name"], note_change)


@blueprint.put("/bypass/remove", operation="remove bypass backend", role="operator", lane="change")
@blueprint.arguments(BackendQuery, location="query")
def remove_bypass_backend(query: dict[str, str]) -> dict[str, Any]:
    """Take a backend in again."""
    return bypass.remove(current_storage(), query["backend_name"], note_change)
