"""Freeze mode: the cache takes nothing in, and only its memory is read."""

from typing import Any

from lmcache_admin.blueprint import AdminBlueprint
from lmcache_admin.errors import expect, told
from lmcache_admin.host.current import current_engine, note_change

blueprint = AdminBlueprint("freeze", style="pretty")


@blueprint.put("/freeze/enable", operation="enable freeze mode", role="operator", lane="change")
def enable_freeze() -> dict[str, Any]:
    """Stop stores."""
    return _set(True, "Freeze mode enabled successfully")


@blueprint.put("/freeze/disable", operation="disable freeze mode", role="operator", lane="change")
def disable_freeze() -> dict[str, Any]:
    """Allow stores again."""
    return _set(False, "Freeze mode disabled successfully")


@blueprint.get("/freeze/status", operation="get freeze mode status", role="viewer", lane="read", quick=True)
def get_freeze_status() -> dict[str, Any]:
    """Tell whether stores are stopped."""
    frozen = expect(bool, current_engine().is_frozen(), "is_frozen()", "true or false")
    return {
        "status": "success",
        "freeze": frozen,
        "message": f"Freeze mode is {'enabled' if frozen else 'disabled'}",
    }


def _set(enabled: bool, message: str) -> dict[str, Any]:
    engine = current_engine()
    before = told(bool, lambda: engine.is_frozen())
    engine.freeze(enabled)
    note_change({"freeze": before}, {"freeze": enabled})
    return {"status": "success", "freeze": enabled, "message": message}
