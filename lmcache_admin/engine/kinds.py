"""Kinds of configuration values: how each is converted, as LMCache does, and when it is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """One kind of configuration value.

    Args:
        type: The Python type that a converted value has.
        convert: From file, environment or request to the value; raises ValueError or TypeError. This is the
            lenient form of LMCache's: each text that is not true or 1 is a false boolean.
        fits: Whether a raw value is one that its writer can have meant; stricter than `convert`.
        allowed: What is allowed, in words for an error message.
    """

    type: Any
    convert: Callable[[Any], Any]
    fits: Callable[[Any], bool]
    allowed: str


def to_bool(value: object) -> bool:
    return value if isinstance(value, bool) else str(value).strip().lower() in ("true", "1")


def to_text(value: object) -> str:
    return str(value)


def to_list(item: Callable[[Any], Any]) -> Callable[[Any], list[Any] | None]:
    """A converter to a list of `item` from a list, a single number or a comma text."""

    def convert(value: Any) -> list[Any] | None:
        if value is None:
            return None
        if isinstance(value, list):
            return [item(entry) for entry in value]
        if isinstance(value, int):
            return [item(value)]
        return [item(part.strip()) for part in str(value).split(",") if part.strip()]

    return convert


def to_texts(value: Any) -> list[str] | None:
    if value is None or isinstance(value, list):
        return value
    if not isinstance(value, str):
        raise TypeError("neither a list nor a comma text")
    return [part.strip() for part in value.split(",") if part.strip()]


def to_places(value: Any) -> list[str]:
    if isinstance(value, list):
        return value
    return [value] if value else []


def to_folders(value: object) -> str | None:
    """A comma text of folders, a leading file:// removed from each."""
    if value is None:
        return None
    parts = [part.strip().removeprefix("file://") for part in str(value).split(",") if part.strip()]
    return ",".join(parts) or None


def to_object(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return json.loads(value) if value else None


def to_retrieve_mode(value: object) -> str:
    mode = "prefix_strict" if value is None else str(value).strip().lower().replace("-", "_")
    if mode in ("prefix_strict", "prefixstrict"):
        return "prefix_strict"
    if mode in ("skip_missing_chunks", "skipmissingchunks", "legacy"):
        return "skip_missing_chunks"
    raise ValueError("neither prefix_strict nor skip_missing_chunks")


def fits_bool(value: object) -> bool:
    return isinstance(value, bool) or str(value).strip().lower() in ("true", "false", "1", "0")


def fits_int(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | str)


def fits_float(value: Any) -> bool:
    return fits_int(value) or (isinstance(value, float) and not math.isnan(value))


def fits_text(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def fits_list(value: object) -> bool:
    if isinstance(value, list):
        return all(fits_text(entry) for entry in value)
    return fits_text(value)


def fits_object(value: object) -> bool:
    return isinstance(to_object(value), dict | None)


def _numbers(item: type) -> Kind:
    name = "whole numbers" if item is int else "numbers"
    return Kind(list[item], to_list(item), fits_list, f"a list of {name}, or a comma text of them")  # type: ignore[valid-type]


def _or_null(kind: Kind) -> Kind:
    return Kind(kind.type | None, kind.convert, kind.fits, f"{kind.allowed}, or null")


INT = Kind(int, int, fits_int, "a whole number")
FLOAT = Kind(float, float, fits_float, "a number")
BOOL = Kind(bool, to_bool, fits_bool, "true or false")
STR = Kind(str, to_text, fits_text, "a text")
INTS = _numbers(int)
INT_OR_NULL = _or_null(INT)
FLOAT_OR_NULL = _or_null(FLOAT)
STR_OR_NULL = _or_null(STR)
INTS_OR_NULL = _or_null(INTS)
FLOATS_OR_NULL = _or_null(_numbers(float))
STRS_OR_NULL = Kind(list[str] | None, to_texts, fits_list, "a list of texts, a comma text, or null")
PLACES = Kind(list[str] | None, to_places, fits_list, "a list of texts, or one text")
FOLDERS = Kind(str | None, to_folders, fits_text, "a folder, a comma text of folders, or null")
OBJECT_OR_NULL = Kind(dict | None, to_object, fits_object, "an object, a JSON text of one, or null")
RETRIEVE_MODE = Kind(str, to_retrieve_mode, fits_text, "prefix_strict or skip_missing_chunks")
