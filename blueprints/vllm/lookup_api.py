"""The lookup client (scheduler) or lookup server (worker): what it is, closing and making it."""

from typing import Any

from lmcache_admin.blueprint import AdminBlueprint, Schema, fields
from lmcache_admin.host.current import current_lookup_changes, current_lookup_manager, current_runtime
from lmcache_admin.operations import lookup

blueprint = AdminBlueprint("lookup", style="pretty", unavailable="API unavailable")


class CreateQuery(Schema):
    dryrun = fields.Boolean(load_default=False, metadata={"description": "Only tell what would be made."})


@blueprint.get("/lookup/info", operation="get lookup info", role="viewer", lane="read", quick=True)
def get_lookup_info() -> dict[str, Any]:
    """Return the classes of client and server, wrappers outside; `None` where there is none."""
    return lookup.describe(current_lookup_manager())


@blueprint.post("/lookup/close", operation="close lookup", role="operator", lane="change")
def close_lookup() -> tuple[dict[str, Any], int]:
    """Close the client or server; until the next create every lookup finds nothing."""
    return lookup.close(current_lookup_manager(), current_lookup_changes())


@blueprint.post("/lookup/create", operation="create lookup", role="operator", lane="change")
@blueprint.arguments(CreateQuery, location="query")
def create_lookup(query: dict[str, bool]) -> tuple[dict[str, Any], int]:
    """Make a client or server from the configuration, or tell what would be made."""
    manager, runtime = current_lookup_manager(), current_runtime()
    return lookup.create(manager, current_lookup_changes(), runtime, query["dryrun"])


@blueprint.post("/lookup/recreate", operation="recreate lookup", role="operator", lane="change")
def recreate_lookup() -> tuple[dict[str, Any], int]:
    """Close the client or server and make another from the configuration."""
    return lookup.recreate(current_lookup_manager(), current_lookup_changes())
