"""What this server serves: version, process kind, and every endpoint file with its routes or its error."""

from typing import Any

from lmcache_admin import __version__
from lmcache_admin.blueprint import AdminBlueprint
from lmcache_admin.host.current import current_service

blueprint = AdminBlueprint("blueprints")


@blueprint.get("/blueprints", operation="list blueprints", role="viewer", lane="light")
def list_blueprints() -> dict[str, Any]:
    """Return what was loaded and what was left out, with the declarations of each route."""
    service = current_service()
    routes = service.routes.served if service.routes else ()
    return {
        "version": __version__,
        "kind": service.kind,
        "files": [loaded.describe() for loaded in service.loader.files],
        "routes": [
            {
                "method": served.method,
                "path": served.rule,
                "operation": served.declaration.operation,
                "role": served.declaration.role,
                "lane": served.declaration.lane,
            }
            for served in routes
        ],
    }
