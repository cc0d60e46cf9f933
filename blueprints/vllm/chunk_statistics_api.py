"""Statistics of how often chunks come again: start, stop, reset, read."""

from typing import Any

from lmcache_admin.blueprint import AdminBlueprint
from lmcache_admin.host.current import current_config, current_lookup_client
from lmcache_admin.host.protocols import StatisticsClient
from lmcache_admin.operations import chunk_statistics

blueprint = AdminBlueprint("chunk_statistics", style="pretty", unavailable="API unavailable")

# The lane `job` is for what waits for the recorder's queue, 5 to 10 s in LMCache: reads and changes go on meanwhile.


@blueprint.post("/chunk_statistics/start", operation="start", role="operator", lane="change")
def start_chunk_statistics() -> dict[str, str]:
    """Begin to count the chunks of each lookup."""
    _keeper().start_statistics()
    return {"status": "success", "message": "Started"}


@blueprint.post("/chunk_statistics/stop", operation="stop", role="operator", lane="change")
def stop_chunk_statistics() -> dict[str, str]:
    """Count no more; the figures stay."""
    _keeper().stop_statistics()
    return {"status": "success", "message": "Stopped"}


@blueprint.post("/chunk_statistics/reset", operation="reset", role="operator", lane="job", destructive=True)
def reset_chunk_statistics() -> dict[str, str]:
    """Set the figures back; counting goes on or not, as before."""
    _keeper().reset_statistics()
    return {"status": "success", "message": "Reset"}


@blueprint.get("/chunk_statistics/status", operation="get status", role="viewer", lane="job")
def get_chunk_statistics() -> dict[str, Any]:
    """Return the figures, once what the recorder holds has been counted."""
    return chunk_statistics.describe(_keeper(), current_config())


def _keeper() -> StatisticsClient:
    return chunk_statistics.keeper(current_lookup_client())
