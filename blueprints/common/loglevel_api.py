"""Levels of the process's loggers: list, read, set."""

from typing import Any

from lmcache_admin.blueprint import AdminBlueprint, Schema, fields
from lmcache_admin.host.current import note_change
from lmcache_admin.operations import loglevel

blueprint = AdminBlueprint("loglevel", style="text")


class LogLevelQuery(Schema):
    logger_name = fields.Text(load_default="", metadata={"description": "The logger; root for the root logger."})
    level = fields.Text(load_default="", metadata={"description": "The level to set; absent: only read."})


@blueprint.get("/loglevel", operation="set log level", role="viewer", lane="light", changes_if=("level",))
@blueprint.arguments(LogLevelQuery, location="query")
def get_log_level(query: dict[str, str]) -> Any:
    """List all loggers, or read one, or set one and its handlers."""
    name, level = query["logger_name"], query["level"]
    if name and level:
        return loglevel.set_level(name, level, note_change)
    if name:
        return loglevel.describe(name)
    return loglevel.NOTHING if level else loglevel.describe_all()


@blueprint.post("/loglevel", operation="set log level", role="operator", lane="change")
@blueprint.arguments(LogLevelQuery, location="query")
def set_log_level(query: dict[str, str]) -> str:
    """Set the level of a logger and of its own handlers."""
    return loglevel.change(query["logger_name"], query["level"], note_change)
