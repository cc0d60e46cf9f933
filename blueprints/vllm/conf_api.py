"""The engine's configuration and metadata."""

from typing import Any

from lmcache_admin.blueprint import AdminBlueprint, Schema, fields
from lmcache_admin.host.current import current_body, current_definitions, current_manager, note_change
from lmcache_admin.operations import conf

blueprint = AdminBlueprint("conf", style="pretty_text", unavailable="LMCache adapter unavailable")


class NamesQuery(Schema):
    names = fields.Text(load_default="", metadata={"description": "Comma list of keys; absent: all."})


@blueprint.get("/conf", operation="get configuration", role="viewer", lane="light", quick=True)
@blueprint.arguments(NamesQuery, location="query")
def get_configuration(query: dict[str, str]) -> dict[str, Any]:
    """Return the configuration, every key in the order of its definition, or the named ones as asked."""
    return conf.read(current_manager().config, current_definitions(), fields.comma_list(query["names"]))


@blueprint.post(
    "/conf",
    operation="set configuration",
    role="operator",
    lane="change",
    style="compact",
    body="Keys and their new values.",
)
def set_configuration() -> tuple[dict[str, Any], int]:
    """Set keys one by one; those that are refused are listed with the reason."""
    return conf.change(current_manager().config, current_definitions(), current_body(), note_change)


@blueprint.get("/meta", operation="get metadata", role="viewer", lane="light", quick=True)
@blueprint.arguments(NamesQuery, location="query")
def get_metadata(query: dict[str, str]) -> dict[str, Any]:
    """Return the engine's metadata, sorted by name, or the named attributes as asked."""
    metadata = getattr(current_manager(), "lmcache_engine_metadata", None)
    return conf.attributes(metadata, fields.comma_list(query["names"]))
