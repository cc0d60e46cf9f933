"""What the KV caches of the inference engine look like, what they hold, and whether the engine logs their slots."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lmcache_admin.errors import Failure, Invalid
from lmcache_admin.host.protocols import Manager
from lmcache_admin.jobs import Job
from lmcache_admin.operations.kvcache_digests import combined_digests, layer_digests
from lmcache_admin.operations.kvcache_rows import Rows, device_of, element_type, slots_of
from lmcache_admin.slot_lists import SlotList

logger = logging.getLogger(__name__)

#: Most digests in one answer.
MAX_DIGESTS = 1_000_000
_ERROR = "error"  # the contract's digest of a layer that cannot be read


def info(manager: Manager) -> dict[str, Any]:
    """Describe each layer's KV cache.

    Raises:
        Failure: 404, there are none.
    """
    caches = _caches(manager)
    kv_dtype = _kv_dtype(manager)
    layers = {
        name: {"shape": list(cache.shape), "dtype": element_type(cache, kv_dtype), "device": device_of(cache)}
        for name, cache in caches.items()
    }
    return {"status": "success", "num_layers": len(layers), "layers": layers}


def record_slot(manager: Manager, enabled: str | None) -> dict[str, Any]:
    """Say whether the engine logs the slots of each store and retrieve, or set it.

    Args:
        manager: The manager; without an engine nothing is logged.
        enabled: `true` or `false` in any letter case; None only asks.

    Raises:
        Invalid: Another text. Failure: 500, it is to be set and there is no engine.
    """
    engine = manager.lmcache_engine
    if enabled is None:
        recording = bool(getattr(engine, "kvcache_check_log_enabled", False))
    elif (word := enabled.lower()) in ("true", "false"):
        if engine is None:
            raise _failure("set record slot status", "'NoneType' object has no attribute 'kvcache_check_log_enabled'")
        _ = engine.kvcache_check_log_enabled  # an engine without it would log nothing: 501
        engine.kvcache_check_log_enabled = recording = word == "true"
    else:
        raise Invalid("Invalid parameter", "enabled must be 'true' or 'false'")
    return {"status": "success", "kvcache_check_log_enabled": recording}


@dataclass(frozen=True)
class Check:
    """A comparison that can be made: digests of chunks of slots.

    Args:
        caches: Layer name to KV cache.
        kv_dtype: The engine's word for their element type.
        slots: The slots; the first layer has all of them.
        chunk_size: Slots for each digest; None: no digests.
        layerwise: A digest for each layer, else one for all of them.
    """

    caches: Mapping[str, Any]
    kv_dtype: str
    slots: SlotList
    chunk_size: int | None
    layerwise: bool

    @classmethod
    def of(cls, manager: Manager, slots: SlotList, chunk_size: int | None, layerwise: bool) -> Check:
        """Prepare a check of a manager's KV caches.

        Raises:
            Failure: 404, there are none; 500, the manager knows of none. Invalid: What was asked cannot be.
        """
        if not hasattr(manager, "kv_caches"):
            raise _failure("compute checksums", f"{type(manager).__name__!r} object has no attribute 'kv_caches'")
        caches = _caches(manager)
        _refuse_outside(slots, slots_of(next(iter(caches.values()))))
        _refuse_chunk_size(chunk_size, len(slots), len(caches) if layerwise else 1)
        return cls(caches, _kv_dtype(manager), slots, chunk_size, layerwise)

    def run(self, job: Job) -> dict[str, Any]:
        """Return the digests; layers that could not be read are named."""
        failed: list[str] = []
        count, digests = (0, []) if self.chunk_size is None else self._digests(self.chunk_size, failed, job)
        return {
            "status": "success",
            "slot_mapping_ranges": self.slots.ranges(),
            "chunk_size": self.chunk_size,
            "num_chunks": count,
            "chunk_checksums": digests,
            "layerwise": self.layerwise,
            **({"failed_layers": failed} if failed else {}),
        }

    def _digests(self, chunk_size: int, failed: list[str], job: Job) -> tuple[int, Any]:
        numbers = self.slots.numbers()
        chunks = [numbers[first : first + chunk_size] for first in range(0, len(numbers), chunk_size)]
        layers = self._readable(failed, job)
        names = sorted(layers)
        rows = [layers[name] for name in names]
        if not self.layerwise:
            return len(chunks), combined_digests(rows, chunks, job)
        found = dict(zip(names, layer_digests(rows, chunks, job), strict=True))
        return len(chunks), {name: found.get(name) or [_ERROR] * len(chunks) for name in self.caches}

    def _readable(self, failed: list[str], job: Job) -> dict[str, Rows]:
        """Open the layers; the contract goes on without one that cannot be read, or has too few slots."""
        last = max((run[1] for run in self.slots.runs), default=-1)
        layers: dict[str, Rows] = {}
        for name, cache in self.caches.items():
            try:
                rows = Rows(cache, self.kv_dtype)
                if last >= rows.slots:
                    raise IndexError(f"slot {last} is beyond its {rows.slots} slots")  # noqa: TRY301 - it ends as others
            except Exception as error:  # noqa: BLE001 - a foreign tensor may raise anything
                reason = f"{type(error).__name__}: {error}"
                failed.append(name)
                job.fail(name, reason)
                logger.warning("KV cache of layer %r is left out of the check: %r", name, reason)
            else:
                layers[name] = rows
        return layers


def _caches(manager: Manager) -> dict[str, Any]:
    caches = getattr(manager, "kv_caches", None)
    if not caches:
        body = {"error": "kv_caches not available", "message": "kv_caches is empty or not initialized"}
        raise Failure(404, body)
    return dict(caches)


def _kv_dtype(manager: Manager) -> str:
    return str(getattr(getattr(manager, "lmcache_engine_metadata", None), "kv_dtype", ""))


def _refuse_outside(slots: SlotList, count: int) -> None:
    if outside := slots.outside(count):
        text = f"Slot indices out of bounds: {outside}. Valid range: 0 to {count - 1}"
        raise Invalid("Invalid slot indices", text)


def _refuse_chunk_size(chunk_size: int | None, slots: int, layers: int) -> None:
    if chunk_size is None:
        return
    if chunk_size <= 0:
        raise Invalid("Invalid chunk_size", "chunk_size must be a positive integer")
    digests = -(-slots // chunk_size) * layers
    if digests > MAX_DIGESTS:
        text = f"chunk_size {chunk_size} makes {digests} digests, at most {MAX_DIGESTS} allowed"
        raise Invalid("Invalid chunk_size", text)


def _failure(operation: str, message: str) -> Failure:
    return Failure(500, {"error": f"Failed to {operation}", "message": message})
