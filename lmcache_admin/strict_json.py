"""JSON without what readers disagree about."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

_MAX_DEPTH = 64


def strict_json(data: bytes, *, constants: bool = False) -> Any:
    """Read one JSON document and refuse what readers disagree about.

    Args:
        data: UTF-8, with or without a byte order mark.
        constants: Whether NaN and the infinities are let through, for a caller that judges them itself.

    Raises:
        ValueError: Not JSON, a repeated key, NaN, a number beyond all that can be shown, an integer of more than 64
            bits, more than 64 levels deep, a lone surrogate, a NUL in a key.
    """
    encoding = json.detect_encoding(data)
    text = data.decode(encoding, "surrogatepass")
    refuse = None if constants else _refuse_constant
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=refuse)
    except RecursionError:
        raise ValueError(f"nested more than {_MAX_DEPTH} levels deep") from None
    if not encoding.startswith("utf-8"):
        raise ValueError(f"the body is {encoding}, not UTF-8")
    _check(value, 1, constants)
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:100]!r} is given twice")
        found[key] = value
    return found


def _check(value: Any, depth: int, constants: bool) -> None:
    if depth > _MAX_DEPTH and isinstance(value, (dict, list)):
        raise ValueError(f"nested more than {_MAX_DEPTH} levels deep")
    if isinstance(value, dict):
        for key, item in value.items():
            if "\0" in key:
                raise ValueError("a key has a NUL")
            _check(key, depth, constants)
            _check(item, depth + 1, constants)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1, constants)
    elif isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        raise ValueError("a lone surrogate is not text")
    elif isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ValueError("an integer has more than 64 bits")
    elif isinstance(value, float) and not (constants or math.isfinite(value)):
        raise ValueError("a number is too large")
