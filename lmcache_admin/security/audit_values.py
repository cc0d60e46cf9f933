"""What an entry of the audit may hold: plain JSON of a bounded size, whatever a client or a host put there."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

#: Most letters of a value, as JSON: of a change that was admitted, and of a try that was refused.
ADMITTED, REFUSED = 32_768, 2_048


def plain(value: Any, limit: int = ADMITTED) -> Any:
    """Return a value as JSON has it; of one that is longer than `limit` letters its beginning and its length."""
    try:
        text = json.dumps(_printable(value), default=str)
    except Exception:  # noqa: BLE001 - an object of a host's may raise anything; the entry is written all the same
        return "(cannot be shown)"
    if len(text) > limit:
        return {"shortened": text[:limit], "letters": len(text)}
    return json.loads(text)


def _printable(value: Any) -> Any:
    """The value without what JSON has no form for: NaN, the infinities, keys that are no texts."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): _printable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_printable(item) for item in value]
    return value
