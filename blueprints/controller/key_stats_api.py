"""Keys, instances and workers that an attached controller knows."""

from typing import Any

from lmcache_admin.blueprint import AdminBlueprint
from lmcache_admin.host.current import current_registry
from lmcache_admin.operations import key_stats

blueprint = AdminBlueprint("key_stats", failure="detail")


@blueprint.get("/controller/key-stats", operation="count keys", role="viewer", lane="read")
def get_key_stats() -> dict[str, Any]:
    """Return the totals and each instance's counts, in the order of registration."""
    return key_stats.count(current_registry())
