"""An endpoint file of somebody else's, as docs/extending.md shows it: it must type-check without an ignore."""

import gc

from lmcache_admin.blueprint import AdminBlueprint, Schema, fields, validate
from lmcache_admin.host.current import current_engine

blueprint = AdminBlueprint("gc", unavailable="GC API is unavailable")


class GcQuery(Schema):
    generation = fields.Integer(load_default=2, validate=validate.Range(0, 2))


@blueprint.get("/gc", operation="get garbage collector counters", role="viewer", lane="light")
@blueprint.arguments(GcQuery, location="query")
def get_gc(query: dict[str, int]) -> dict[str, int]:
    """Return how often one generation was collected, and what that freed and could not free (objects)."""
    return gc.get_stats()[query["generation"]]


@blueprint.put("/gc/freeze", operation="freeze the cache", role="operator", lane="change")
def freeze() -> dict[str, bool]:
    """Freeze the cache, and say whether it is frozen."""
    engine = current_engine()
    engine.freeze(True)
    return {"frozen": engine.is_frozen()}
