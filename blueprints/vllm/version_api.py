"""Version of what answers here."""

from lmcache_admin.blueprint import AdminBlueprint
from lmcache_admin.host.current import current_runtime

blueprint = AdminBlueprint("version")


@blueprint.get("/lmc_version", operation="read the version", role="viewer", lane="light", quick=True)
def get_lmc_version() -> str:
    """Return the version, such as 0.5.6."""
    return current_runtime().versions()[0]


@blueprint.get("/commit_id", operation="read the commit", role="viewer", lane="light", quick=True)
def get_commit_id() -> str:
    """Return the commit that the version was built from."""
    return current_runtime().versions()[1]


@blueprint.get("/version", operation="read the version", role="viewer", lane="light", quick=True)
def get_version() -> str:
    """Return version and commit, joined by a hyphen."""
    return "-".join(current_runtime().versions())
