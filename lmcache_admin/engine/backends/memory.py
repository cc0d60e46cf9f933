"""Chunks in host memory, bounded by bytes: the hot cache."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import asdict

from lmcache_admin.engine.backends.files import chunk_name
from lmcache_admin.engine.backends.policies import POLICIES, ChunkCache
from lmcache_admin.engine.backends.protocol import REPORTED, Counters, OnRemoved
from lmcache_admin.engine.chunks import Chunk, ChunkKey, Layout
from lmcache_admin.engine.errors import StorageError


class LocalCPUBackend:
    """Keeps chunks in memory and evicts by policy.

    Args:
        capacity: Bytes of payload.
        policy: LRU, LFU, FIFO or MRU.
        enabled: Whether chunks are kept (the hot cache's switch).
        layout: The only layout that is taken; None takes any.

    Raises:
        StorageError: An unknown policy.
    """

    durable = False

    def __init__(
        self, capacity: int, policy: str = "LRU", *, enabled: bool = True, layout: Layout | None = None
    ) -> None:
        if policy.upper() not in POLICIES:
            raise StorageError(f"cache_policy: {policy!r} is not allowed; allowed: {', '.join(POLICIES)}")
        self._capacity = capacity
        self._policy = policy.upper()
        self._enabled = enabled
        self._layout = layout
        self._closed = False
        self._lock = threading.Lock()
        self._cache = self._fresh()
        self._probes: dict[ChunkKey, Chunk] = {}  # a health probe's chunks: beside the budget
        self._counters = Counters()

    @property
    def enabled(self) -> bool:
        """Whether the hot cache is on."""
        return self._enabled

    def set_enabled(self, enabled: bool) -> None:
        """Switch the hot cache; switching off drops its content."""
        self._enabled = enabled
        if not enabled:
            self.clear()

    def put(self, key: ChunkKey, chunk: Chunk) -> bool:
        """Keep the chunk; False when off, closed, of another layout or larger than the whole cache."""
        if self._closed or not self._enabled:
            return False
        if key.reserved:
            self._probes[key] = chunk
            return True
        with self._lock:
            kept = self._takes(chunk)
            if kept:
                before = len(self._cache) + (key not in self._cache)
                self._cache[key] = chunk
                self._counters.puts += 1
                self._counters.evictions += before - len(self._cache)
            else:
                self._counters.put_failures += 1
        return kept

    def get(self, key: ChunkKey) -> Chunk | None:
        """The chunk, which becomes recently used, or None."""
        if key.reserved:
            return self._probes.get(key)
        with self._lock:
            chunk = self._cache.get(key)
            if chunk is None:
                self._counters.misses += 1
            else:
                self._counters.hits += 1
        return chunk

    def contains(self, key: ChunkKey) -> bool:
        """Whether the chunk is kept; its turn to be evicted does not change."""
        return key in self._probes if key.reserved else key in self._cache

    def confirm(self, key: ChunkKey) -> bool:
        """Whether the chunk is kept; it becomes recently used."""
        with self._lock:
            return self._cache.get(key) is not None

    def touch(self, keys: Iterable[ChunkKey]) -> None:
        """Make chunks recently used one after the other; of use to LRU only."""
        if self._policy == "LRU":
            for key in keys:
                self.confirm(key)

    def remove(self, key: ChunkKey) -> bool:
        """Drop one chunk; whether it was there."""
        if key.reserved:
            return self._probes.pop(key, None) is not None
        with self._lock:
            return self._cache.pop(key, None) is not None

    def clear(self, on_removed: OnRemoved | None = None) -> dict[str, int]:
        """Drop every chunk that is there now; tokens by chunk name. Others wait for a few of them at most."""
        cleared: dict[str, int] = {}
        with self._lock:
            keys = list(self._cache)
        for start in range(0, len(keys), REPORTED):
            with self._lock:
                dropped = [(key, self._cache.pop(key, None)) for key in keys[start : start + REPORTED]]
            names = {chunk_name(key, self._layout): chunk.tokens for key, chunk in dropped if chunk is not None}
            cleared |= names
            if on_removed is not None:
                on_removed(len(names))
        return cleared

    def room(self, nbytes: int) -> int:
        """How many chunks of that size fit at once; none while off."""
        return self._capacity // max(nbytes, 1) if self._enabled and not self._closed else 0

    def submit_put_task(self, key: ChunkKey, chunk: Chunk) -> None:
        """Take a chunk that was read elsewhere into the hot cache."""
        self.put(key, chunk)

    def stats(self) -> dict[str, int]:
        """Chunks, bytes, capacity and counters."""
        with self._lock:
            chunks, used, counters = len(self._cache), int(self._cache.currsize), asdict(self._counters)
        return {"chunks": chunks, "bytes": used, "capacity": self._capacity, **counters}

    def close(self) -> None:
        """Take and give nothing more; the content is dropped."""
        self._closed = True
        self.clear()

    def _takes(self, chunk: Chunk) -> bool:
        if self._closed or not self._enabled:
            return False
        return chunk.nbytes <= self._capacity and self._layout in (None, chunk.layout)

    def _fresh(self) -> ChunkCache:
        return POLICIES[self._policy](self._capacity, lambda chunk: chunk.nbytes)
