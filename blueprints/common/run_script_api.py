"""Runs an uploaded script: no sandbox unless a setting says so, and off unless a setting at start switches it on."""

from functools import partial
from typing import Any

from lmcache_admin.blueprint import AdminBlueprint, Schema, Work, fields
from lmcache_admin.host.current import current_application, current_definitions, current_service
from lmcache_admin.operations import run_script, script_snapshot

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
    recorded_file="script",
    destructive=True,
)
@blueprint.arguments(ScriptUpload, location="files")
def run_uploaded_script(upload: dict[str, Any]) -> Work:
    """Execute the script and return the text of what it named `result`.

    This is no sandbox: with `internal_api_server_run_script_mode: in_process` the script has the engine in its hands,
    can do whatever the engine's process can, and cannot be ended. With `process` it runs in a process of its own that
    gets a copy of the engine's state as `snapshot`, and is ended at the deadline of its lane or when its job is
    cancelled.
    """
    service = current_service()
    source, allowed = run_script.read(upload["script"]), service.settings.script_allowed_imports
    if service.settings.run_script_mode == "in_process":
        return Work(partial(run_script.run, source, allowed, current_application()))
    sources = script_snapshot.Sources(
        manager=service.manager,
        runtime=service.runtime,
        definitions=current_definitions(),
        status=service.health.report,
        mask=service.redactor.mask,
    )
    return Work(partial(run_script.run_apart, source, allowed, sources, service.settings.deadlines["job"]))
