"""Levels of the process's loggers: list, read, set."""

from typing import Any

from lmcache_admin.blueprint import AdminBlueprint, Schema, fields, validate
from lmcache_admin.host.current import current_service, note_change
from lmcache_admin.operations import loglevel

blueprint = AdminBlueprint("loglevel", style="text")

# Only the names are masked: in a line `botocore.credentials: DEBUG` the level would count as a secret.


class LogLevelQuery(Schema):
    logger_name = fields.Text(
        load_default="",
        validate=validate.Length(max=500),
        metadata={"description": "The logger; root for the root logger."},
    )
    level = fields.Text(load_default="", metadata={"description": "The level to set; absent: only read."})


@blueprint.get(
    "/loglevel",
    operation="set log level",
    role="viewer",
    lane="light",
    changes_if=("level",),
    redacted=False,
    content_types=("application/json",),  # null, for a level without a logger
)
@blueprint.arguments(LogLevelQuery, location="query")
def get_log_level(query: dict[str, str]) -> Any:
    """List all loggers, or read one, or set one and its handlers."""
    name, level, mask = query["logger_name"], query["level"], current_service().redactor.mask_line
    if name and level:
        return loglevel.set_level(name, level, mask, note_change)
    if name:
        return loglevel.describe(name, mask)
    return loglevel.NOTHING if level else loglevel.describe_all(mask)


@blueprint.post("/loglevel", operation="set log level", role="operator", lane="change", redacted=False)
@blueprint.arguments(LogLevelQuery, location="query")
def set_log_level(query: dict[str, str]) -> str:
    """Set the level of a logger and of its own handlers."""
    mask = current_service().redactor.mask_line
    return loglevel.change(query["logger_name"], query["level"], mask, note_change)
