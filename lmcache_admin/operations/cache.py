"""Clearing the cache, and storing and retrieving invented tokens."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lmcache_admin.errors import BadAnswer, expect_count
from lmcache_admin.host.protocols import Engine


def clear(engine: Engine, locations: Sequence[str] | None, configs: Mapping[str, Any] | None) -> dict[str, Any]:
    """Remove chunks and return how many tokens that freed.

    Args:
        engine: The engine.
        locations: Names of backends; None: all; names that do not exist are none of them.
        configs: A request's own configuration, handed to the engine.
    """
    removed = engine.clear(locations=locations, request_configs=configs)
    return {"status": "success", "num_removed": expect_count(removed, "clear()", "a number of tokens")}


def store(engine: Engine, tokens: range) -> dict[str, Any]:
    """Store tokens; `num_stored` is there where the engine tells how many it really kept."""
    stored = engine.store(**_call(engine, tokens, "store"))
    told = {"num_stored": stored} if type(stored) is int and stored >= 0 else {}
    return {"status": "success", "num_tokens": len(tokens), **told}


def retrieve(engine: Engine, tokens: range) -> dict[str, Any]:
    """Retrieve tokens and return how many were found."""
    mask = engine.retrieve(**_call(engine, tokens, "retrieve"))
    try:
        found = int(mask.sum().item())
    except AttributeError:
        raise BadAnswer("retrieve()", mask, "a mask of tokens") from None
    return {"status": "success", "num_tokens": len(tokens), "num_retrieved": found}


def _call(engine: Engine, tokens: range, name: str) -> dict[str, Any]:
    caches = getattr(engine.gpu_connector, "kvcaches", None)
    return {
        "tokens": list(tokens),
        "slot_mapping": _slots(len(tokens), caches),
        "kvcaches": caches,
        "req_id": f"cache_api_{name}",
    }


def _slots(count: int, caches: Any) -> Any:
    """The slots 0 … count-1 as int64: a tensor on the caches' device where torch is in the process, else an array."""
    torch = sys.modules.get("torch")
    if torch is None:
        return np.arange(count, dtype=np.int64)
    device = caches[0].device if caches else "cpu"
    return torch.arange(count, dtype=torch.int64, device=device)
