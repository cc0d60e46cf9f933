"""The inference engine that the cache works for."""

from typing import Any

from lmcache_admin.blueprint import AdminBlueprint
from lmcache_admin.errors import Failure, expect
from lmcache_admin.host.current import current_manager

blueprint = AdminBlueprint("inference", style="pretty_any", unavailable="LMCache adapter unavailable")


@blueprint.get("/inference_info", operation="get inference info", role="viewer", lane="read")
def get_inference_info() -> Any:
    """Return what the manager knows of the inference engine."""
    manager: Any = current_manager()
    if not hasattr(manager, "get_inference_info"):
        raise _failure("info", manager)
    return expect(dict, manager.get_inference_info(), "get_inference_info()", "an object")


@blueprint.get("/inference_version", operation="get inference version", role="viewer", lane="read")
def get_inference_version() -> dict[str, Any]:
    """Return the inference engine's version; the connector knows it where the manager does not."""
    manager: Any = current_manager()
    knows = manager if hasattr(manager, "get_inference_version") else getattr(manager, "_connector", None) or manager
    if not hasattr(knows, "get_inference_version"):
        raise _failure("version", knows)
    return {"vllm_version": expect(str, knows.get_inference_version(), "get_inference_version()", "a text")}


def _failure(what: str, owner: object) -> Failure:
    """500 and these words, where others are 501: LMCache's own answer."""
    text = f"{type(owner).__name__!r} object has no attribute 'get_inference_{what}'"
    return Failure(500, {"error": f"Failed to get inference {what}", "message": text})
