"""The settings reference: a Markdown table made from the declarations."""

from __future__ import annotations

import json
from collections.abc import Mapping

from lmcache_admin.settings import settings_keys
from lmcache_admin.settings_keys import Key
from lmcache_admin.settings_values import MODE

__all__ = ["settings_tables"]

_HEAD = "| key | default | allowed | meaning |\n| --- | --- | --- | --- |"


def settings_tables() -> str:
    """Write the two tables: keys of the file's top level, and keys under `extra_config`."""
    parts = []
    for top, title in ((True, "At the top level of the file"), (False, "Under `extra_config`")):
        rows = [_row(key) for key in settings_keys() if key.top is top]
        parts.append(f"### {title}\n\n" + "\n".join([_HEAD, *rows]))
    return "\n\n".join(parts)


def _row(key: Key) -> str:
    told = key.unit in key.meaning + key.kind.allowed
    unit = "" if told else f" ({key.unit})"
    cells = (f"`{key.name}`", f"`{_default(key)}`", key.kind.allowed, key.meaning + unit)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(key: Key) -> str:
    value = key.default
    if key.kind is MODE:
        return f"{value:04o}"
    if isinstance(value, Mapping):
        value = {name: int(number) if number == int(number) else number for name, number in value.items()}
    return value if isinstance(value, str) else json.dumps(list(value) if isinstance(value, tuple) else value)
