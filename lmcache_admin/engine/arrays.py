"""KV caches as NumPy arrays: making them, and moving slots between them and chunks."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmcache_admin.engine.buffers import BufferPool
from lmcache_admin.engine.chunks import Chunk, Layout
from lmcache_admin.engine.shape import CacheShape

Array = NDArray[Any]
Slots = NDArray[np.int64]
LAYER_NAME = "model.layers."
BFLOAT16 = "bfloat16"


def make_caches(shape: CacheShape) -> dict[str, Array]:
    """One array per layer, filled from the shape's seed; the same content in every process."""
    return {
        f"{LAYER_NAME}{number}": _content(np.random.default_rng(shape.seed + number), shape)
        for number in range(shape.layers)
    }


def _content(random: np.random.Generator, shape: CacheShape) -> Array:
    if shape.dtype in ("uint8", "int8"):
        kind = np.dtype(shape.dtype)
        return random.integers(0, 128, shape.array_shape).astype(kind)
    if shape.dtype == BFLOAT16:  # the upper half of a float32
        return (random.random(shape.array_shape, np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return random.random(shape.array_shape, np.float32).astype(shape.dtype)


class ArrayConnector:
    """Copies slots out of and into KV caches; the engine's `gpu_connector`.

    Args:
        caches: Layer name to array, in layer order, all of one shape and C-contiguous.
        layout: How a chunk of them lies.
        chunk_size: Tokens of a whole chunk.
    """

    def __init__(self, caches: dict[str, Array], layout: Layout, chunk_size: int) -> None:
        self.named = caches
        self.layout = layout
        self._buffers = BufferPool(layout.nbytes(chunk_size))
        self._lock = threading.Lock()  # held while one chunk is copied, so that no copy is torn

    @property
    def kvcaches(self) -> list[Array]:
        """The arrays in layer order."""
        return list(self.named.values())

    def slots(self, slot_mapping: Sequence[int] | Array | None, count: int, caches: Sequence[Array]) -> Slots:
        """Check a slot mapping, one slot per token; None means slots 0 to count - 1.

        A slot beyond the KV cache's end wraps round to its beginning. The API maps N tokens to slots 0 to
        N - 1 whatever the cache's size; with wrapping a small cache takes part in any such call, as LMCache's
        standalone starter does, which moves no KV data at all. A slot used twice holds what came last.

        Raises:
            ValueError: Another number of slots than tokens, a negative slot, or no whole numbers.
        """
        given = np.arange(count) if slot_mapping is None else np.asarray(slot_mapping)
        if given.shape != (count,):
            raise ValueError(f"slot_mapping has shape {given.shape}, but there are {count} tokens")
        if count and not np.issubdtype(given.dtype, np.integer):
            raise ValueError(f"slot_mapping holds {given.dtype}, not whole numbers")
        if count and given.min() < 0:
            raise ValueError(f"slot_mapping holds the negative slot {given.min()}")
        wrapped: Slots = given.astype(np.int64) % self._flat(caches[0]).shape[1]
        return wrapped

    def gather(self, caches: Sequence[Array], slots: Slots) -> Chunk:
        """Copy the slots of every layer into a new chunk."""
        planes, layers, width, _ = self.layout
        buffer = self._buffers.take(self.layout.nbytes(len(slots)))
        taken: Array = buffer.view(caches[0].dtype).reshape(planes, layers, len(slots), width)
        run = _run(slots)
        with self._lock:
            for layer, cache in enumerate(caches):
                flat = self._flat(cache)
                if run is not None:
                    taken[:, layer] = flat[:, run]
                    continue
                for plane in range(planes):
                    np.take(flat[plane], slots, axis=0, out=taken[plane, layer], mode="clip")
        return Chunk(self.layout, len(slots), buffer.data.toreadonly())

    def scatter(self, caches: Sequence[Array], slots: Slots, chunk: Chunk) -> None:
        """Copy a chunk into the slots of every layer."""
        planes, layers, width, _ = self.layout
        given = np.frombuffer(chunk.payload, caches[0].dtype).reshape(planes, layers, len(slots), width)
        run = _run(slots)
        with self._lock:
            for layer, cache in enumerate(caches):
                self._flat(cache)[:, slots if run is None else run] = given[:, layer]

    def check(self, caches: Sequence[Array]) -> None:
        """Refuse KV caches that this connector's chunks do not fit.

        Raises:
            ValueError: Another number of layers, shape or element size, or an array that is not contiguous.
        """
        if len(caches) != self.layout.layers:
            raise ValueError(f"{len(caches)} KV caches given, but the engine has {self.layout.layers} layers")
        for number, (cache, own) in enumerate(zip(caches, self.kvcaches, strict=True)):
            if cache is own:
                continue
            fits = cache.ndim == own.ndim and self._flat(cache).shape[::2] == self._flat(own).shape[::2]
            if not fits or cache.dtype != own.dtype or not cache.flags.c_contiguous:
                raise ValueError(f"KV cache {number} does not fit: shape {cache.shape}, type {cache.dtype}")

    def _flat(self, cache: Array) -> Array:
        """A view as [planes, slots, width]."""
        planes, _, width, _ = self.layout
        return cache.reshape(planes, -1, width)


def _run(slots: Slots) -> slice | None:
    """The slots as a slice when each follows the one before: copying a slice is much faster."""
    if len(slots) and bool((np.diff(slots) == 1).all()):
        return slice(int(slots[0]), int(slots[-1]) + 1)
    return None
