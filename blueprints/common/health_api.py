"""Is the service alive, and is the data path ready?"""

from typing import Any

from lmcache_admin.blueprint import AdminBlueprint
from lmcache_admin.host.current import current_service

blueprint = AdminBlueprint("health")


@blueprint.get("/healthz", operation="check liveness", role="viewer", lane="light", quick=True)
def get_liveness() -> dict[str, str]:
    """Answer while the service answers; touches nothing."""
    return {"status": "ok"}


@blueprint.get("/readyz", operation="check readiness", role="viewer", lane="light", quick=True, redacted=True)
def get_readiness() -> tuple[dict[str, Any], int]:
    """Return what the last probes of the data path found, and how long ago; 503 for starting and failed."""
    report = current_service().health.report()
    return report, 200 if report["status"] in ("ok", "degraded") else 503
