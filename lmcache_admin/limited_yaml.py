"""YAML within limits: no aliases, no key twice, so deep and so large and no more (requirement S61)."""

from __future__ import annotations

from typing import Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_NODES", "Unfit", "compose_map", "construct", "decode"]

MAX_BYTES = 1024 * 1024
MAX_NODES = 10_000
MAX_DEPTH = 32
MAX_DIGITS = 64

_FAST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where PyYAML was built with it
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class Unfit(Exception):
    """Why the text is not what is allowed."""


def decode(data: bytes) -> str:
    """Read a file's bytes as text.

    Raises:
        Unfit: More than `MAX_BYTES`, or not UTF-8.
    """
    if len(data) > MAX_BYTES:
        raise Unfit(f"it is larger than {MAX_BYTES // 1024} KiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unfit(f"byte {error.start} is not UTF-8") from None


def compose_map(text: str, loader: Any = _FAST) -> MappingNode | None:
    """Parse a text whose top level is a map with texts as keys; None for an empty text, or null.

    Args:
        text: The text.
        loader: PyYAML's class that parses.

    Raises:
        Unfit: It is beyond a limit, or something else than a map.
        yaml.YAMLError: It is no YAML.
        RecursionError: It is nested too deeply for the parser.
    """
    _check_size(text, loader)
    node = yaml.compose(text, Loader=loader)
    if node is None or node.tag == "tag:yaml.org,2002:null":
        return None
    _check_nodes(node)
    if not isinstance(node, MappingNode):
        raise Unfit("it holds a list" if isinstance(node, SequenceNode) else "it holds a single value")
    for name, _ in node.value:
        if name.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
            raise Unfit(f"{_line(name)}: a key is no text")
    return node


def construct(node: MappingNode | None) -> dict[str, Any]:
    """Make the values of a parsed map.

    Raises:
        yaml.YAMLError, ValueError, OverflowError, RecursionError: A value is not what its tag says.
    """
    return {} if node is None else dict(SafeConstructor().construct_document(node))


def _check_size(text: str, loader: Any) -> None:
    """Count while parsing, so that a file that is too large or too deep costs little."""
    nodes = depth = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.AliasEvent):
            raise Unfit(f"{_line(event)}: aliases (*name) are not allowed")
        if isinstance(event, yaml.NodeEvent):
            nodes += 1
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if nodes > MAX_NODES:
            raise Unfit(f"it has more than {MAX_NODES} nodes")
        if depth > MAX_DEPTH:
            raise Unfit(f"{_line(event)}: it is more than {MAX_DEPTH} levels deep")


def _check_nodes(node: Node) -> None:
    """Refuse endless numbers, and a key that stands twice in one map (YAML would keep the last, silently)."""
    if isinstance(node, MappingNode):
        seen: set[tuple[str, str]] = set()
        for name, value in node.value:
            if isinstance(name, ScalarNode):
                if (name.tag, name.value) in seen:
                    raise Unfit(f"{_line(name)}: the key {name.value!r} stands twice")
                seen.add((name.tag, name.value))
            _check_nodes(name)
            _check_nodes(value)
    elif isinstance(node, SequenceNode):
        for item in node.value:
            _check_nodes(item)
    elif node.tag in _NUMBERS and len(node.value) > MAX_DIGITS:
        raise Unfit(f"{_line(node)}: a number has {len(node.value)} digits")


def _line(place: Node | yaml.Event) -> str:
    return f"line {place.start_mark.line + 1}" if place.start_mark is not None else "somewhere"
