"""Workers that an attached controller knows."""

from typing import Any

from lmcache_admin.blueprint import AdminBlueprint, Schema, fields
from lmcache_admin.host.current import current_registry
from lmcache_admin.operations import worker_info

blueprint = AdminBlueprint("worker_info", failure="detail")


class WorkersQuery(Schema):
    instance_id = fields.Text(load_default=None, metadata={"description": "The instance; absent: all."})
    worker_id = fields.Integer(load_default=None, metadata={"description": "One worker of that instance."})


@blueprint.get("/controller/workers", operation="list workers", role="viewer", lane="read", answers=(404,))
@blueprint.arguments(WorkersQuery, location="query")
def list_workers(query: dict[str, Any]) -> dict[str, Any]:
    """Return all workers, those of one instance, or one worker."""
    return worker_info.describe(current_registry(), query["instance_id"], query["worker_id"])
