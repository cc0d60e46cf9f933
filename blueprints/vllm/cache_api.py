"""The cache's content: clear it, store and retrieve invented tokens."""

from functools import partial
from typing import Any

from lmcache_admin.blueprint import AdminBlueprint, Schema, Work, fields
from lmcache_admin.host.current import current_engine
from lmcache_admin.operations import cache

blueprint = AdminBlueprint("cache", style="pretty", unavailable="LMCache API is unavailable")


class ClearQuery(Schema):
    locations = fields.List(
        fields.Name(),
        load_default=None,
        metadata={"description": "Backends to clear, repeated; absent: all."},
    )


class TokensQuery(Schema):
    tokens_mock = fields.Text(load_default="", metadata={"description": "start,end: the tokens start … end-1."})


@blueprint.delete(
    "/cache/clear",
    operation="clear cache",
    role="operator",
    lane="job",
    destructive=True,
    body="A request's own configuration, handed to the engine; absent or null: none.",
    body_optional=True,
)
@blueprint.arguments(ClearQuery, location="query")
@blueprint.arguments(fields.JsonObject, location="optional_json")
def clear_cache(query: dict[str, Any], body: dict[str, Any]) -> Work:
    """Remove the chunks of all or of the named backends; `num_removed` counts tokens."""
    return Work(partial(cache.clear, current_engine(), query["locations"], body["configs"]))


@blueprint.post("/cache/store", operation="store cache", role="operator", lane="job", exception_type=True)
@blueprint.arguments(TokensQuery, location="query")
def store_tokens(query: dict[str, str]) -> dict[str, Any]:
    """Store the KV of invented tokens, taken from slots 0 … N-1."""
    return cache.store(current_engine(), fields.token_range(query["tokens_mock"]))


@blueprint.post("/cache/retrieve", operation="retrieve cache", role="operator", lane="job", exception_type=True)
@blueprint.arguments(TokensQuery, location="query")
def retrieve_tokens(query: dict[str, str]) -> dict[str, Any]:
    """Load the longest stored prefix of invented tokens into slots 0 … N-1 of the live KV cache."""
    return cache.retrieve(current_engine(), fields.token_range(query["tokens_mock"]))
