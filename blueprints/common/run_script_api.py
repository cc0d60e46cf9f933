"""Runs an uploaded script inside the process: no sandbox, off unless a setting at start switches it on."""

from typing import Any

from lmcache_admin.blueprint import AdminBlueprint, Schema, fields
from lmcache_admin.host.current import current_application, current_service
from lmcache_admin.operations import run_script

blueprint = AdminBlueprint("run_script", style="text")


class ScriptUpload(Schema):
    script = fields.Raw(load_default=None, metadata={"description": "The script, as an uploaded file."})


@blueprint.post(
    "/run_script",
    operation="run a script",
    role="admin",
    lane="job",
    switch="run_script_api_enabled",
    switched_off=run_script.SWITCHED_OFF,
)
@blueprint.arguments(ScriptUpload, location="files")
def run_uploaded_script(upload: dict[str, Any]) -> str:
    """Execute the script and return the text of what it named `result`."""
    settings = current_service().settings
    source = run_script.read(upload["script"])
    return run_script.run(source, settings.script_allowed_imports, current_application())
