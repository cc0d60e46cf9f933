"""marshmallow's fields, and the value types of the contract."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import Schema
from marshmallow.fields import Dict, Field, Float, List, Nested, Raw, String
from marshmallow.validate import Range

from lmcache_admin.errors import Invalid

__all__ = [
    "Boolean",
    "Dict",
    "Field",
    "Float",
    "Integer",
    "JsonObject",
    "List",
    "Name",
    "Nested",
    "Range",
    "Raw",
    "String",
    "Text",
    "comma_list",
    "token_range",
]

_INTEGER = re.compile(r"\s*[+-]?\d+(?:_\d+)*(?:\.0+)?\s*", re.ASCII)
#: Longest text of an integer; Python itself refuses to read one of more than 4,300 digits.
_DIGITS = 1000
_TRUE = frozenset(("1", "t", "true", "y", "yes", "on"))
_FALSE = frozenset(("0", "f", "false", "n", "no", "off"))
#: Most tokens that one request may invent (requirement S48).
MAX_TOKENS = 1_000_000
#: Largest token id: models' own are 32 bit numbers.
LARGEST_TOKEN = 2**31 - 1


class Integer(Field[int]):
    """A whole number as the contract reads it: blanks around, `+1`, `1_0`, `1.0` are fine, `1e3`, `0x1` not."""

    default_error_messages = {  # noqa: RUF012 - the form that marshmallow asks for
        "invalid": "{input!r} is not an integer."
    }

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:
        if isinstance(value, str) and len(value) <= _DIGITS and _INTEGER.fullmatch(value):
            return int(value.partition(".")[0].strip())
        if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
            return int(value)
        raise self.make_error("invalid", input=value)


class Boolean(Field[bool]):
    """A switch as the contract reads it, in any letter case: `1 t true y yes on` or `0 f false n no off`."""

    default_error_messages = {  # noqa: RUF012 - the form that marshmallow asks for
        "invalid": "{input!r} is not a boolean; allowed: true, false, 1, 0, yes, no, on, off, t, f, y, n."
    }

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> bool:
        text = value.lower() if isinstance(value, str) else value
        if value is True or (isinstance(text, str) and text in _TRUE):
            return True
        if value is False or (isinstance(text, str) and text in _FALSE):
            return False
        raise self.make_error("invalid", input=value)


class Text(String):
    """A text; an empty one counts as absent in every endpoint of the contract that takes one."""


class Name(Text):
    """A text that names something: a control character in it is a mistake, or an attempt."""

    default_error_messages = {  # noqa: RUF012 - the form that marshmallow asks for
        "control": "{input!r} has a control character; no name has one."
    }

    def __init__(self, *, metadata: Mapping[str, Any] | None = None, **options: Any) -> None:
        super().__init__(metadata={"pattern": r"^[^\x00-\x1f\x7f]*$", **(metadata or {})}, **options)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if any(character < " " or character == "\x7f" for character in text):
            raise self.make_error("control", input=text)
        return text


class JsonObject(Schema):
    """An optional body that is one JSON object of any keys, or null; read it with `location="optional_json"`."""

    configs = Dict(load_default=None, allow_none=True)


def comma_list(text: str | None) -> list[str] | None:
    """Split a comma list without trimming; None where the contract counts it as absent."""
    return text.split(",") if text else None


def token_range(text: str | None) -> range:
    """Read `tokens_mock=start,end` as the tokens start … end-1.

    Raises:
        Invalid: Absent, malformed, empty, or more than `MAX_TOKENS` tokens.
    """
    if not text:
        raise Invalid("Missing parameters", "Must specify either tokens_input or tokens_mock")
    try:
        start, end = _ends(text)
    except ValueError as error:
        raise Invalid("Invalid tokens_mock format", f"tokens_mock must be 'start,end': {error}") from None
    return range(start, end)


def _ends(text: str) -> tuple[int, int]:
    parts = text.split(",")
    if len(parts) != 2:
        raise ValueError("tokens_mock must contain exactly 2 numbers")
    start, end = int(parts[0]), int(parts[1])
    if start >= end:
        raise ValueError("start must be less than end")
    if end - start > MAX_TOKENS:
        raise ValueError(f"{end - start} tokens asked, at most {MAX_TOKENS} allowed")
    if start < -LARGEST_TOKEN or end - 1 > LARGEST_TOKEN:
        raise ValueError(f"a token id goes up to {LARGEST_TOKEN}")
    return start, end
