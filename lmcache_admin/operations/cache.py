"""Clearing the cache, and storing and retrieving invented tokens."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lmcache_admin.errors import BadAnswer, expect_count
from lmcache_admin.host.protocols import Engine
from lmcache_admin.jobs import Job


def clear(
    engine: Engine, locations: Sequence[str] | None, configs: Mapping[str, Any] | None, job: Job
) -> dict[str, Any]:
    """Remove chunks and return how many tokens that freed, and which backends know no clearing.

    Args:
        engine: The engine.
        locations: Names of backends; None: all; names that do not exist are none of them.
        configs: A request's own configuration, handed to the engine.
        job: Counts chunks, and can be cancelled between two, where the engine takes `on_removed`.
    """
    skipped = _without_clear(engine, locations)
    watched: dict[str, Any] = {}
    if _offers_on_removed(engine):
        job.begin(_chunk_count(engine, locations), "chunks")
        watched = {"on_removed": job.advance}
    removed = engine.clear(locations=locations, request_configs=configs, **watched)
    count = expect_count(removed, "clear()", "a number of tokens")
    job.note_change(None, {"num_removed": count})
    told = {"skipped_backends": skipped} if skipped else {}
    return {"status": "success", "num_removed": count, **told}


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


def _without_clear(engine: Engine, locations: Sequence[str] | None) -> list[str]:
    """Names of the asked backends that cannot be cleared: LMCache passes over them and reports success."""
    backends = getattr(getattr(engine, "storage_manager", None), "storage_backends", None)
    if not isinstance(backends, Mapping):
        return []
    asked = [name for name in backends if locations is None or name in locations]
    return [name for name in asked if not hasattr(backends[name], "clear")]


def _offers_on_removed(engine: Engine) -> bool:
    """Whether `clear` reports each chunk; what is not written in Python need not say what it takes."""
    try:
        return "on_removed" in inspect.signature(engine.clear).parameters
    except ValueError:
        return False


def _chunk_count(engine: Engine, locations: Sequence[str] | None) -> int | None:
    counting = getattr(getattr(engine, "storage_manager", None), "chunk_count", None)
    return counting(locations) if counting is not None else None


def _call(engine: Engine, tokens: range, name: str) -> dict[str, Any]:
    connector = getattr(engine, "gpu_connector", None)  # an engine on the CPU need not have one
    caches = getattr(connector, "kvcaches", None)
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
