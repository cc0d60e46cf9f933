"""The process's environment, with secrets masked."""

import os

from lmcache_admin.blueprint import AdminBlueprint

blueprint = AdminBlueprint("env", style="pretty_text")


@blueprint.get("/env", operation="read the environment", role="viewer", lane="light")
def get_environment() -> dict[str, str]:
    """Return every environment variable, sorted by name."""
    return dict(sorted(os.environ.items()))
