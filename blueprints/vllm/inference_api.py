"""The inference engine that the cache works for."""

from typing import Any

from lmcache_admin.blueprint import AdminBlueprint
from lmcache_admin.errors import Failure, expect
from lmcache_admin.host.current import current_manager

blueprint = AdminBlueprint("inference", style="pretty_any", unavailable="LMCache adapter unavailable")


@blueprint.get("/inference_info", operation="get inference info", role="viewer", lane="read", redacted=True)
def get_inference_info() -> Any:
    """Return what the manager knows of the inference engine."""
    info = current_manager().get_inference_info()
    return expect(dict, info, "get_inference_info()", "an object")


@blueprint.get("/inference_version", operation="get inference version", role="viewer", lane="read")
def get_inference_version() -> dict[str, Any]:
    """Return the inference engine's version; the connector knows it where the manager does not."""
    manager: Any = current_manager()
    knows = manager if hasattr(manager, "get_inference_version") else getattr(manager, "_connector", None) or manager
    if not hasattr(knows, "get_inference_version"):  # 500 and these words are the contract's
        text = f"{type(knows).__name__!r} object has no attribute 'get_inference_version'"
        raise Failure(500, {"error": "Failed to get inference version", "message": text})
    return {"vllm_version": expect(str, knows.get_inference_version(), "get_inference_version()", "a text")}
