"""Is the service alive, and is the data path ready?"""

from typing import Any

from lmcache_admin.blueprint import AdminBlueprint
from lmcache_admin.host.current import current_role, current_service

blueprint = AdminBlueprint("health")


@blueprint.get(
    "/healthz",
    operation="check liveness",
    role="viewer",
    lane="light",
    public="always",
    quick=True,
    redacted=False,
)
def get_liveness() -> dict[str, str]:
    """Answer while the service answers; touches nothing."""
    return {"status": "ok"}


@blueprint.get("/readyz", operation="check readiness", role="viewer", lane="light", public="always", quick=True)
def get_readiness() -> tuple[dict[str, Any], int]:
    """Return what the last probes of the data path found, and how long ago; 503 for starting and failed.

    Who has no credentials where some are asked for gets the status alone.
    """
    report = current_service().health.report()
    shown = report if current_role() else {"status": report["status"]}
    return shown, 200 if report["status"] in ("ok", "degraded") else 503
