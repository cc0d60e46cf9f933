"""The settings file: YAML within limits, read so that nothing in it surprises."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.nodes import MappingNode, Node, SequenceNode

from lmcache_admin.limited_yaml import MAX_BYTES, MAX_DEPTH, MAX_NODES, Unfit, compose_map, construct, decode
from lmcache_admin.settings import settings_keys
from lmcache_admin.settings_error import SettingsError
from lmcache_admin.settings_keys import Key
from lmcache_admin.settings_values import NotAllowed

__all__ = ["load_settings_file"]

_ALLOWED = f"a YAML map of settings, at most {MAX_BYTES // 1024} KiB, {MAX_NODES} nodes and {MAX_DEPTH} levels deep"
_UNMISTAKABLE = {
    "tag:yaml.org,2002:bool": re.compile(r"true|false", re.IGNORECASE),
    "tag:yaml.org,2002:int": re.compile(r"[+-]?(0|[1-9][0-9]*)"),
    "tag:yaml.org,2002:float": re.compile(r"[+-]?([0-9]+\.[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE),
    "tag:yaml.org,2002:null": re.compile(r".*"),
    "tag:yaml.org,2002:str": re.compile(r".*", re.DOTALL),
}


def load_settings_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a settings file; an empty one is an empty map, and keys that are not ours are kept as they are.

    Args:
        path: A YAML file: at most 1 MiB, 10,000 nodes and 32 levels, no aliases, no key twice.

    Raises:
        SettingsError: The file cannot be read or is something else. For our keys also when YAML reads a plain
            value as something else than it says (`22:22` is 1342, `no` is false, `010` is 8).
    """
    try:
        node = compose_map(_text(Path(path)))
        values = construct(node)
    except Unfit as error:
        raise SettingsError("settings file", str(path), _ALLOWED, reason=str(error)) from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise SettingsError("settings file", str(path), _ALLOWED, reason=_reason(error)) from None
    for key, value in _ours(node) if node is not None else ():
        _check_notation(key, value)
    return values


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return decode(file.read(MAX_BYTES + 1))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise Unfit(getattr(error, "strerror", None) or str(error)) from None


def _ours(node: Node) -> Iterator[tuple[Key, Node]]:
    """The values of our keys, at the top level and under `extra_config`."""
    known = {key.name: key for key in settings_keys()}
    for name, value in node.value:
        if name.value == "extra_config" and isinstance(value, MappingNode):
            for inner, item in value.value:
                if inner.value in known:
                    yield known[inner.value], item
        elif name.value in known:
            yield known[name.value], value


def _check_notation(key: Key, node: Node) -> None:
    """Refuse a plain scalar that YAML reads as something else than its text says."""
    for part, scalar, quoted in _scalars(node):
        if _unmistakable(scalar) or key.kind.notation(scalar.value):
            continue
        reason = f"YAML reads it as {SafeConstructor().construct_document(scalar)!r}"
        try:
            key.kind.read(quoted)
        except NotAllowed:
            pass
        else:
            reason += "; quotes make it a text"
        raise SettingsError(key.name + part, _Plain(scalar.value), key.kind.allowed, reason=reason)


def _scalars(node: Node) -> Iterator[tuple[str, Node, object]]:
    """Each scalar, its place in the value as an error names it, and the value with it alone, as a text."""
    if isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            yield from ((f"[{index}]{part}", scalar, [quoted]) for part, scalar, quoted in _scalars(item))
    elif isinstance(node, MappingNode):
        for name, item in node.value:
            yield from (
                (f".{name.value}{part}", scalar, {name.value: quoted}) for part, scalar, quoted in _scalars(item)
            )
    else:
        yield "", node, node.value


def _unmistakable(node: Node) -> bool:
    pattern = _UNMISTAKABLE.get(node.tag)
    return pattern is not None and pattern.fullmatch(node.value) is not None


class _Plain(str):
    """A text that an error shows without quotes, as it stands in the file."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _reason(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return str(error)
