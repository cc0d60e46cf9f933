"""Value kinds of the settings: how a value is read from a file or the environment, and what is allowed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, TypeVar

__all__ = [
    "AUDIT_BYTES",
    "AUDIT_KEEP",
    "BOOLEAN",
    "FOLDERS",
    "INDEX_LIST",
    "LANES",
    "MODE",
    "NAMES",
    "OPTIONAL_PATH",
    "PATTERNS",
    "PORT",
    "ROLES",
    "ROLE_MAP",
    "SOCKET_PREFIX",
    "Kind",
    "NotAllowed",
    "choice",
    "lanes_of_integers",
    "lanes_of_seconds",
    "listed",
    "optional",
    "text_of",
]

LANES = ("light", "read", "change", "job")
ROLES = ("viewer", "operator", "admin")
SOCKET_PATH_BYTES = 107  # sun_path is 108 bytes on Linux, its last byte the terminating NUL

T = TypeVar("T")
N = TypeVar("N", int, float)


class NotAllowed(ValueError):
    """A value that its kind does not allow.

    Args:
        part: The place inside a list or map (`[2]`, `.read`), if any.
        item: What stands at that place.
    """

    def __init__(self, part: str = "", item: object = None) -> None:
        super().__init__(part)
        self.part = part
        self.item = item


@dataclass(frozen=True)
class Kind(Generic[T]):
    """One kind of value.

    Args:
        name: The type as the reference shows it.
        allowed: What is allowed, as the end of a sentence.
        read: Makes the value of what a file or a host gives; raises NotAllowed.
        read_text: Makes what `read` takes of an environment variable's text.
        notation: Whether a plain YAML scalar that YAML 1.1 reads as something else than its text says
            (`no`, `22:22`, `010`) is meant so by this kind.
    """

    name: str
    allowed: str
    read: Callable[[object], T]
    read_text: Callable[[str], object] = str
    notation: Callable[[str], bool] = lambda text: False


def _integer(value: object, low: int, high: int) -> int:
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,18}", value.strip(), re.ASCII):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise NotAllowed
    return value


def _boolean(value: object) -> bool:
    if isinstance(value, str):  # as LMCache writes them in its environment
        value = {"true": True, "1": True, "false": False, "0": False}.get(value.strip().lower(), value)
    if not isinstance(value, bool):
        raise NotAllowed
    return value


def text_of(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or any(ord(sign) < 32 for sign in value):
        raise NotAllowed
    return value.strip()


def _items(value: object, read: Callable[[object], T]) -> tuple[T, ...]:
    """Read a list, a comma text or one single value, as LMCache takes them."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    elif not isinstance(value, Sequence) or isinstance(value, bytes):
        return (read(value),)
    items = []
    for index, item in enumerate(value):
        try:
            items.append(read(item))
        except NotAllowed as error:
            raise NotAllowed(f"[{index}]", item) from error
    return tuple(items)


def _path(value: object) -> str:
    return os.path.abspath(os.path.expanduser(text_of(value)))


def _role_map(value: object) -> Mapping[str, str]:
    """Read a map from a user's or group's name or number to a role."""
    if not isinstance(value, Mapping):
        raise NotAllowed
    for name, role in value.items():
        if isinstance(name, bool) or not isinstance(name, str | int) or role not in ROLES:
            raise NotAllowed(f".{name}", role)
    return MappingProxyType({str(name): str(role) for name, role in value.items()})


def _socket_prefix(value: object) -> str:
    text = os.path.expanduser(text_of(value))
    if text.endswith("/") or len(os.fsencode(os.path.abspath(f"{text}_65535"))) > SOCKET_PATH_BYTES:
        raise NotAllowed
    return text


def _mode(value: object) -> int:
    if isinstance(value, str):
        if not re.fullmatch(r"(0o?)?[0-7]{3}", value.strip()):
            raise NotAllowed
        value = int(value.strip(), 8)
    mode = _integer(value, 0o600, 0o777)
    if mode & 0o600 != 0o600:
        raise NotAllowed
    return mode


def _json_object(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise NotAllowed from None


def _seconds(value: object, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise NotAllowed
    return float(value)


def _lane_map(value: object, read: Callable[[object], N], defaults: Mapping[str, N]) -> Mapping[str, N]:
    """Read a map from lane to number; what it leaves out keeps its default."""
    if not isinstance(value, Mapping):
        raise NotAllowed
    lanes = dict(defaults)
    for lane, number in value.items():
        if lane not in LANES:
            raise NotAllowed(f".{lane}", number)
        try:
            lanes[lane] = read(number)
        except NotAllowed as error:
            raise NotAllowed(f".{lane}", number) from error
    return MappingProxyType(lanes)


def _pattern(value: object) -> str:
    text = text_of(value)
    try:
        found = re.compile(text)
    except (re.error, RecursionError, OverflowError):
        raise NotAllowed from None
    if found.search(""):  # it would match everywhere
        raise NotAllowed
    return text


def _patterns(value: object) -> tuple[str, ...]:
    """Read a list of patterns, or a single one, whose commas are its own."""
    return _items([value] if isinstance(value, str) else value, _pattern)


def _json_or_text(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def choice(*names: str) -> Kind[str]:
    """Make the kind of a text that is one of a few names."""

    def read(value: object) -> str:
        if value is False and "off" in names:  # YAML 1.1 reads a plain `off` as false
            return "off"
        text = text_of(value).lower()
        if text not in names:
            raise NotAllowed
        return text

    return Kind("text", "one of " + ", ".join(names), read, notation=lambda text: text.lower() in names)


def lanes_of_integers(low: int, high: int, defaults: Mapping[str, int]) -> Kind[Mapping[str, int]]:
    """Make the kind of a map from lane to integer; a partial map overrides single lanes."""
    return Kind(
        "map of integers",
        f"a map from {', '.join(LANES)} to an integer from {low} to {high}",
        lambda value: _lane_map(value, lambda number: _integer(number, low, high), defaults),
        _json_object,
    )


def lanes_of_seconds(low: float, high: float, defaults: Mapping[str, float]) -> Kind[Mapping[str, float]]:
    """Make the kind of a map from lane to seconds; a partial map overrides single lanes."""
    return Kind(
        "map of seconds",
        f"a map from {', '.join(LANES)} to seconds from {low:g} to {high:g}",
        lambda value: _lane_map(value, lambda number: _seconds(number, low, high), defaults),
        _json_object,
    )


def optional(kind: Kind[T]) -> Kind[T | None]:
    """The same kind where null is a value of its own."""
    return Kind(kind.name, f"{kind.allowed}, or null", kind.read, kind.read_text, kind.notation)


def listed(allowed: str, read: Callable[[object], Any]) -> Kind[tuple[str, ...]]:
    return Kind("list of texts", allowed, lambda value: _items(value, read))


BOOLEAN = Kind("boolean", "true or false", _boolean, notation=lambda text: True)
# not 0: the other ports are counted from it, and a port that the kernel chooses would be told to nobody
PORT = Kind("integer", "an integer from 1 to 65535", lambda value: _integer(value, 1, 65535))
INDEX_LIST = optional(
    Kind(
        "list of integers",
        "a list of integers from 0 to 65535",
        lambda value: _items(value, lambda item: _integer(item, 0, 65535)),
    )
)
AUDIT_BYTES = Kind("integer", "an integer from 10000 to 10^12", lambda value: _integer(value, 10_000, 10**12))
AUDIT_KEEP = Kind("integer", "an integer from 0 to 1000", lambda value: _integer(value, 0, 1000))
SOCKET_PREFIX = optional(
    Kind(
        "text",
        f"a path without a trailing slash whose socket file (the path, '_', the port) "
        f"takes at most {SOCKET_PATH_BYTES} bytes",
        _socket_prefix,
    )
)
NAMES = listed("a list of names", text_of)
OPTIONAL_PATH = optional(Kind("text", "a path", _path))
PATTERNS = Kind(
    "list of patterns", "a list of regular expressions that match no empty text", _patterns, _json_or_text
)
ROLE_MAP = Kind(
    "map of roles", f"a map from a name or number to one of {', '.join(ROLES)}", _role_map, _json_object
)
FOLDERS = listed("a list of folder paths", _path)
MODE = Kind(
    "file mode",
    "an octal mode from 0600 to 0777 that lets the owner read and write",
    _mode,
    notation=lambda text: re.fullmatch(r"0[0-7]{3}", text) is not None,
)
