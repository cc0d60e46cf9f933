"""Who changed what, and who was refused."""

from typing import Any

from lmcache_admin.blueprint import AdminBlueprint, Schema, fields, validate
from lmcache_admin.host.current import current_service

blueprint = AdminBlueprint("audit")


class AuditQuery(Schema):
    limit = fields.Integer(load_default=100, validate=validate.Range(1, 1000))


@blueprint.get("/audit", operation="read the audit", role="admin", lane="light")
@blueprint.arguments(AuditQuery, location="query")
def list_audit_entries(query: dict[str, int]) -> dict[str, Any]:
    """Return the newest entries, newest first; the last 1,000 are kept in memory."""
    return {"entries": current_service().audit.newest(query["limit"]), "kept": current_service().audit.kept}
