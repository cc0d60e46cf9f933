"""Executing a script as the contract has it: few builtins, imports by name, `result` as text. This is no sandbox."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any


class ScriptError(Exception):
    """The script raised something, or one of its modules did; the text says what."""


def import_all(allowed: Iterable[str], warn: Callable[[str, str], None]) -> dict[str, ModuleType]:
    """Import the modules that a script may import, and return them by name.

    Args:
        allowed: Their exact names.
        warn: Told the name of one that cannot be imported, and why; the script finds it not allowed.

    Raises:
        ScriptError: One of them failed in another way.
    """
    modules = {}
    for name in allowed:
        try:
            modules[name] = importlib.import_module(name)
        except ImportError as error:
            warn(name, str(error))
        except BaseException as error:  # noqa: BLE001 - a module of the operator's may raise anything
            raise ScriptError(_text_of(error)) from None
    return modules


def execute(source: bytes, modules: Mapping[str, ModuleType], given: Mapping[str, object]) -> str:
    """Execute a script and return the text of its `result`.

    Args:
        source: Python source.
        modules: What it may import.
        given: Names that it finds, with their values.

    Raises:
        ScriptError: It failed, in whatever way.
    """
    found: dict[str, Any] = {}
    try:
        exec(source, {"__builtins__": _builtins(modules), **given}, found)  # noqa: S102 - the feature itself
        return str(found.get("result", "Script executed successfully"))
    except BaseException as error:  # noqa: BLE001 - a foreign script may raise anything, SystemExit too
        raise ScriptError(_text_of(error)) from None


def _builtins(modules: Mapping[str, ModuleType]) -> dict[str, object]:
    def restricted_import(name: str, *_: object, **__: object) -> ModuleType:
        if name not in modules:
            raise ImportError(f"Import of '{name}' is not allowed")
        return modules[name]

    plain = (print, str, int, float, list, dict, tuple, set)
    return {**{item.__name__: item for item in plain}, "__import__": restricted_import}


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # noqa: BLE001 - the text of a script's own exception is code of the script, too
        return type(error).__name__
