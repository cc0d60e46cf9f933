"""What a setting is (name, kind, default, variable, unit, meaning), and how its value is found and read."""

from __future__ import annotations

import difflib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lmcache_admin.settings_error import SettingsError
from lmcache_admin.settings_values import Kind, NotAllowed

__all__ = ["PREFIX", "Key", "extra_config", "read_text", "read_value", "refuse_unknown", "warn_of_unknown"]

logger = logging.getLogger(__name__)

PREFIX = "internal_api_server_"


@dataclass(frozen=True)
class Key:
    """One setting as the file and the environment know it.

    Args:
        field: Attribute of Settings.
        name: Name in the file.
        kind: How a value is read and what is allowed.
        default: The value when nobody sets it.
        meaning: What it does, one line.
        unit: Unit of the value, if it has one.
        top: It stands at the top level of LMCache's file, else under `extra_config`.
    """

    field: str
    name: str
    kind: Kind[Any]
    default: object
    meaning: str
    unit: str
    top: bool

    @property
    def variable(self) -> str:
        """The environment variable, which wins over the file."""
        return f"LMCACHE_{self.name.upper()}"


def read_value(key: Key, value: object) -> object:
    """Read a value of a file, a host or a caller; None is what nobody set.

    Raises:
        SettingsError: The key's kind does not allow it.
    """
    if value is None:
        return key.default
    try:
        return key.kind.read(value)
    except NotAllowed as error:
        item = error.item if error.part else value
        raise SettingsError(key.name + error.part, item, key.kind.allowed) from None


def read_text(key: Key, text: str) -> object:
    """Read the text of the key's environment variable; quotes around it are taken off, as LMCache does.

    Raises:
        SettingsError: The key's kind does not allow it; the error names the variable.
    """
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    try:
        return key.kind.read(key.kind.read_text(text))
    except NotAllowed:
        raise SettingsError(key.name, text, key.kind.allowed, source=key.variable) from None


def extra_config(extra: object, environ: Mapping[str, str]) -> Mapping[str, Any]:
    """Take the file's `extra_config`, or the environment's, which is a JSON object and replaces it.

    Raises:
        SettingsError: It is no map.
    """
    text, source = environ.get("LMCACHE_EXTRA_CONFIG"), ""
    if text:
        source = "LMCACHE_EXTRA_CONFIG"
        try:
            extra = json.loads(text)
        except (ValueError, RecursionError):
            raise SettingsError("extra_config", "******", "a JSON object", source=source) from None
    if extra is None or extra == "":
        return {}
    if not isinstance(extra, Mapping):
        raise SettingsError("extra_config", extra, "a map of settings", source=source)
    return extra


def refuse_unknown(values: Mapping[Any, Any], keys: Iterable[Key], *, top: bool) -> None:
    """Refuse what looks like a key of ours and is none, so that a slip of the pen does not go unnoticed.

    Raises:
        SettingsError: It names the nearest key, or where the key belongs.
    """
    known = {key.name: key for key in keys}
    for name, value in values.items():
        if name in known and known[name].top is not top:
            place = "at the top level of the file" if known[name].top else "under extra_config"
            raise SettingsError(name, value, f"this key {place}", reason="it stands in the wrong place")
        if name not in known and str(name).startswith(PREFIX):
            near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.0)[0]
            raise SettingsError(str(name), value, f"known settings, the nearest is {near}", reason="no such setting")


def warn_of_unknown(environ: Mapping[str, str], keys: Iterable[Key]) -> None:
    """Warn of variables that are nearly ours; others (service links of Kubernetes) are left alone."""
    prefix = f"LMCACHE_{PREFIX.upper()}"
    known = [key.variable.removeprefix(prefix) for key in keys]
    for name in environ:
        rest = name.removeprefix(prefix)
        near = difflib.get_close_matches(rest, known, n=1, cutoff=0.8) if rest != name else []
        if near and rest not in known:
            logger.warning("environment variable %r is no setting; the nearest is %s", name, prefix + near[0])
