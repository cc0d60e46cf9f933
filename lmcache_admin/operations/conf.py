"""Reading and setting the engine's configuration: typed, key by key, security settings never."""

from __future__ import annotations

import logging
import math
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from lmcache_admin.errors import Invalid
from lmcache_admin.jobs import Note
from lmcache_admin.strict_json import strict_json

logger = logging.getLogger(__name__)

Definitions = Mapping[str, Mapping[str, Any]]

IMMUTABLE = "Config is not mutable at runtime"
UNKNOWN = "Unknown config"
FAILED = "Failed to set config value"
#: Settings of this service, code that would be loaded, and whatever holds a path or a URL (requirement S20).
_GUARDED = re.compile(
    r"internal_api_server_.*|run_script_api_enabled|script_allowed_imports|extra_config|local_disk"
    r"|.*plugin.*|.*_(?:url|path)|external_lookup_client"
)
_TRUE, _FALSE = ("true", "1"), ("false", "0")
_REFUSED = object()


def read(config: Any, definitions: Definitions, names: Sequence[str] | None) -> dict[str, Any]:
    """Return the named keys that exist, or all of them in definition order."""
    return {key: getattr(config, key) for key in names or definitions if key in definitions and hasattr(config, key)}


def attributes(owner: object, names: Sequence[str] | None) -> dict[str, Any]:
    """Return the plain attributes of the engine's metadata; shapes and dtypes of torch as text."""
    chosen = names or dir(owner)
    found = {n: getattr(owner, n) for n in chosen if n and not n.startswith("__") and hasattr(owner, n)}
    return {n: _plain(value) for n, value in found.items() if not callable(value)}


def _plain(value: Any) -> Any:
    return str(value) if type(value).__module__.partition(".")[0] == "torch" else value


def change(config: Any, definitions: Definitions, body: bytes, note: Note) -> tuple[dict[str, Any], int]:
    """Set each key of a JSON object and return (`updated` and `errors`, status).

    Args:
        config: The engine's.
        definitions: Its keys.
        body: The object.
        note: Is told the values of what was set, before and after.

    Raises:
        Invalid: The body is no JSON object.
    """
    try:
        wanted = strict_json(body, constants=True)
    except ValueError as error:
        raise Invalid("Invalid JSON body", str(error)) from None
    if not isinstance(wanted, dict):
        raise Invalid("Request body must be a JSON object")
    before: dict[str, Any] = {}
    updated: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for key, value in wanted.items():
        if _GUARDED.fullmatch(key):
            errors[key] = IMMUTABLE
        elif key not in definitions or not definitions[key].get("mutable", True):
            errors[key] = IMMUTABLE if key in definitions else UNKNOWN
        elif (old := _set(config, key, value, definitions[key])) is not _REFUSED:
            before[key], updated[key] = old, getattr(config, key)
        else:
            errors[key] = FAILED
    if updated:
        note(before, updated)
    return {
        "updated": updated,
        **({"errors": errors} if errors else {}),
    }, 400 if errors and not updated else 200


def _set(config: Any, key: str, value: Any, definition: Mapping[str, Any]) -> Any:
    """Set a key and return its value before; `_REFUSED` where it is not set."""
    if not hasattr(config, key) or not _fits(value, definition):
        return _REFUSED
    try:
        converted = value if value is None else definition["env_converter"](value)
    except (ValueError, TypeError, KeyError, AttributeError):
        return _REFUSED
    if (converted is None and value is not None) or not _is_finite(converted):
        return _REFUSED
    before = getattr(config, key)
    try:
        setattr(config, key, converted)
    except Exception as error:  # noqa: BLE001 - an engine that refuses one key says so for that key; the others are set
        logger.warning("The engine refuses to set %s: %r", key, str(error))
        return _REFUSED
    logger.info("Configuration key %s was set", key)
    return before


def _is_finite(value: Any) -> bool:
    """Tell whether no number in it is NaN or infinite, which JSON cannot show."""
    if isinstance(value, Mapping):
        return all(map(_is_finite, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _fits(value: Any, definition: Mapping[str, Any]) -> bool:
    """Tell whether a JSON value fits the key's type; the key's own converter judges the rest."""
    kinds = typing.get_args(definition["type"]) or (definition["type"],)
    if value is None:
        return type(None) in kinds or definition.get("default") is None
    if bool in kinds:
        whole = isinstance(value, int) and value in (0, 1)  # true and false are 1 and 0
        return whole or (isinstance(value, str) and value.strip().lower() in _TRUE + _FALSE)
    if int in kinds:
        return not (isinstance(value, float) and not value.is_integer())
    return True
