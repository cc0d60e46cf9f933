"""OpenAPI document of exactly the routes that this server has."""

from typing import Any

from lmcache_admin.blueprint import AdminBlueprint
from lmcache_admin.host.current import current_openapi

blueprint = AdminBlueprint("openapi")


# What the code says, where `password` is the name of a field.
@blueprint.get("/openapi.json", operation="describe the API", role="viewer", lane="light", redacted=False)
def get_openapi() -> dict[str, Any]:
    """Return the OpenAPI 3.1 document, with the role and lane of each operation."""
    return current_openapi()
