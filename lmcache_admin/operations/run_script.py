"""Executing a script that an operator sends: in this process, with few builtins, which is no sandbox."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any, Protocol

from lmcache_admin.errors import Failure

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


def run(source: bytes, allowed: Iterable[str], app: object) -> str:
    """Execute `source` and return the text of its `result`.

    Args:
        source: Python source.
        allowed: Exact names of modules that it may import.
        app: What the script sees as `app`; its `state.lmcache_adapter` is the manager.

    Raises:
        Failure: 500, the script raised something; the body is the contract's text.
    """
    found: dict[str, Any] = {}
    try:
        names = {"__builtins__": _builtins(_import_all(allowed)), "app": app}
        exec(source, names, found)  # noqa: S102 - the feature itself: admin only, off unless switched on at start
        return str(found.get("result", "Script executed successfully"))
    except BaseException as error:  # noqa: BLE001 - a foreign script may raise anything, SystemExit too
        raise Failure(500, f"Error executing script: {error}") from None


def _import_all(allowed: Iterable[str]) -> dict[str, ModuleType]:
    modules = {}
    for name in allowed:
        try:
            modules[name] = importlib.import_module(name)
        except ImportError as error:
            logger.warning("A module of script_allowed_imports cannot be imported: %s: %s", name, error)
    return modules


def _builtins(modules: Mapping[str, ModuleType]) -> dict[str, object]:
    def restricted_import(name: str, *_: object, **__: object) -> ModuleType:
        if name not in modules:
            raise ImportError(f"Import of '{name}' is not allowed")
        return modules[name]

    plain = (print, str, int, float, list, dict, tuple, set)
    return {**{item.__name__: item for item in plain}, "__import__": restricted_import}
