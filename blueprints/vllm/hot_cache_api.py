"""The hot cache: chunks in host memory."""

from typing import Any

from lmcache_admin.blueprint import AdminBlueprint
from lmcache_admin.errors import expect, told
from lmcache_admin.host.current import current_engine, note_change

blueprint = AdminBlueprint("hot_cache", style="pretty", unavailable="hot_cache API is unavailable")


@blueprint.put("/hot_cache/enable", operation="enable hot cache", role="operator", lane="change")
def enable_hot_cache() -> dict[str, Any]:
    """Keep chunks in memory."""
    return _set(True, "Hot cache enabled successfully")


@blueprint.put("/hot_cache/disable", operation="disable hot cache", role="operator", lane="change", destructive=True)
def disable_hot_cache() -> dict[str, Any]:
    """Drop the chunks in memory, and keep none."""
    return _set(False, "Hot cache disabled successfully")


@blueprint.get("/hot_cache/status", operation="get hot cache status", role="viewer", lane="read", quick=True)
def get_hot_cache_status() -> dict[str, Any]:
    """Tell whether chunks are kept in memory."""
    hot = expect(bool, current_engine().is_hot_cache_enabled(), "is_hot_cache_enabled()", "true or false")
    return {
        "status": "success",
        "hot_cache": hot,
        "message": f"Hot cache is {'enabled' if hot else 'disabled'}",
    }


def _set(enabled: bool, message: str) -> dict[str, Any]:
    engine = current_engine()
    before = told(bool, lambda: engine.is_hot_cache_enabled())
    engine.set_hot_cache(enabled)
    note_change({"hot_cache": before}, {"hot_cache": enabled})
    return {"status": "success", "hot_cache": enabled, "message": message}
