"""Stacks of the process's threads."""

from typing import Any

from lmcache_admin.blueprint import AdminBlueprint, Schema, fields
from lmcache_admin.host.current import current_service
from lmcache_admin.operations import threads

blueprint = AdminBlueprint("threads", style="text")


class ThreadsQuery(Schema):
    name = fields.Text(load_default="", metadata={"description": "Part of the thread's name, in any letter case."})
    thread_id = fields.Integer(load_default=0, metadata={"description": "The thread's identifier; 0: any."})


# Masked line by line: what is the same in many stacks is looked at once.
@blueprint.get("/threads", operation="read thread stacks", role="viewer", lane="light", redacted=False)
@blueprint.arguments(ThreadsQuery, location="query")
def get_threads(query: dict[str, Any]) -> str:
    """Return the stack of each thread that matches, and how many there are."""
    return threads.describe(query["name"], query["thread_id"], current_service().redactor.mask_line)
