"""The KV caches of the inference engine: their shapes, digests of their slots, and a log of slots."""

from typing import Any

from lmcache_admin.blueprint import AdminBlueprint, Schema, Work, fields
from lmcache_admin.host.current import current_manager
from lmcache_admin.operations import kvcache
from lmcache_admin.slot_lists import SlotList

blueprint = AdminBlueprint("kvcache", style="pretty", unavailable="LMCache adapter unavailable")


class CheckQuery(Schema):
    slot_mapping = fields.Text(load_default="", metadata={"description": "Slots such as 0,5,[7,20]."})
    chunk_size = fields.Integer(load_default=None, metadata={"description": "Slots for each digest; absent: none."})
    layerwise = fields.Boolean(load_default=False, metadata={"description": "Digests of each layer, else of all."})


class RecordQuery(Schema):
    enabled = fields.Text(load_default=None, metadata={"description": "true or false; absent: only ask."})


@blueprint.get("/cache/kvcache/info", operation="get kvcache info", role="viewer", lane="read", answers=(404,))
def get_kvcache_info() -> dict[str, Any]:
    """Return each layer's shape, element type and device."""
    return kvcache.info(current_manager())


# Not redacted: up to a million digests, which hold no secret.
@blueprint.get(
    "/cache/kvcache/check",
    operation="compute checksums",
    role="viewer",
    lane="job",
    redacted=False,
    answers=(404,),
)
@blueprint.arguments(CheckQuery, location="query")
def check_kvcache(query: dict[str, Any]) -> Work:
    """Return MD5 digests of slots, `chunk_size` at a time, to compare what was stored with what was retrieved."""
    manager = current_manager()
    slots = SlotList.parse(query["slot_mapping"])
    return Work(kvcache.Check.of(manager, slots, query["chunk_size"], query["layerwise"]).run)


@blueprint.post("/cache/kvcache/record_slot", operation="set record slot status", role="operator", lane="change")
@blueprint.arguments(RecordQuery, location="query")
def record_slots(query: dict[str, Any]) -> dict[str, Any]:
    """Say whether the engine logs the slots of each store and retrieve, and with `enabled` set it."""
    return kvcache.record_slot(current_manager(), query["enabled"])
