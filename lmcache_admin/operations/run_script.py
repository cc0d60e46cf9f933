"""Executing a script that an operator sends: in this process, which is no sandbox, or in one of its own."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Protocol

from lmcache_admin.errors import Failure
from lmcache_admin.jobs import Job
from lmcache_admin.operations import script_process, script_snapshot
from lmcache_admin.sandbox.execution import ScriptError, execute, import_all

logger = logging.getLogger(__name__)

#: The contract's text for a server that does not run scripts.
SWITCHED_OFF = (
    "The /run_script API is disabled. It executes caller-supplied code in-process, so it is off by default; enable it "
    "explicitly with run_script_api_enabled (LMCACHE_RUN_SCRIPT_API_ENABLED=true, or --run-script-api-enabled on the "
    "standalone server) and only on a trusted network."
)


class Upload(Protocol):
    """An uploaded file."""

    def read(self) -> bytes:
        """Return its content."""


def read(upload: Upload | None) -> bytes:
    """Return the script's source.

    Raises:
        Failure: 400, no file came with the request.
    """
    if upload is None:
        raise Failure(400, "No script file provided")
    return upload.read()


def run(source: bytes, allowed: Collection[str], app: object, job: Job) -> str:
    """Execute `source` in this process, and return the text of its `result`; once begun it cannot be ended.

    Args:
        source: Python source.
        allowed: Exact names of modules that it may import.
        app: What the script sees as `app`; its `state.lmcache_adapter` is the manager.
        job: Asked once whether to begin.

    Raises:
        Failure: 500, the script raised something; the body is the contract's text.
    """
    job.checkpoint()
    try:
        return execute(source, import_all(allowed, _warn), {"app": app})
    except ScriptError as error:
        raise Failure(500, f"Error executing script: {error}") from None


def run_apart(
    source: bytes, allowed: Collection[str], sources: script_snapshot.Sources, seconds: float, job: Job
) -> str:
    """Execute `source` in a process of its own, and return the text of its `result`.

    Args:
        source: Python source.
        allowed: Exact names of modules that it may import.
        sources: What it is told of the engine, as `snapshot`.
        seconds: After which it is ended.
        job: A cancel ends it.

    Raises:
        Failure: 500, the script raised something or was ended; the body is the contract's text.
    """
    return script_process.run(source, allowed, script_snapshot.take(sources), seconds, job)


def _warn(name: str, why: str) -> None:
    logger.warning("A module of script_allowed_imports cannot be imported: %s: %s", name, why)
