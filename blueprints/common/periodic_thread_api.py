"""The host's periodic threads: are they running, and did they run lately?"""

from collections.abc import Mapping
from typing import Any

from lmcache_admin.blueprint import AdminBlueprint, Schema, fields
from lmcache_admin.host.current import current_runtime
from lmcache_admin.operations import periodic_thread

blueprint = AdminBlueprint("periodic_thread")


class PeriodicThreadsQuery(Schema):
    level = fields.Text(load_default="", metadata={"description": "critical, high, medium or low, in any letter case."})
    running_only = fields.Boolean(load_default=False)
    active_only = fields.Boolean(load_default=False)


@blueprint.get("/periodic-threads", operation="list periodic threads", role="viewer", lane="light")
@blueprint.arguments(PeriodicThreadsQuery, location="query")
def list_periodic_threads(query: dict[str, Any]) -> dict[str, Any]:
    """Return the counts of all periodic threads, and the state of those that the filters let through."""
    return periodic_thread.listing(current_runtime().periodic_threads(), **query)


@blueprint.get(
    "/periodic-threads/<thread_name>",
    operation="read a periodic thread",
    role="viewer",
    lane="light",
)
def get_periodic_thread(thread_name: str) -> Mapping[str, Any]:
    """Return the state of one periodic thread."""
    return periodic_thread.find(current_runtime().periodic_threads(), thread_name)


@blueprint.get("/periodic-threads-health", operation="check periodic threads", role="viewer", lane="light")
def check_periodic_threads() -> dict[str, Any]:
    """Tell which critical and high threads have died or are late."""
    return periodic_thread.health(current_runtime().periodic_threads())
