"""Eviction policies by name."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import cachetools

from lmcache_admin.engine.chunks import Chunk, ChunkKey

ChunkCache = cachetools.Cache[ChunkKey, Chunk]


class MRUCache(cachetools.Cache[ChunkKey, Chunk]):
    """Evicts what was used last; cachetools itself no longer has this policy."""

    def __init__(self, maxsize: float, getsizeof: Callable[[Chunk], float]) -> None:
        super().__init__(maxsize, getsizeof)
        self._order: OrderedDict[ChunkKey, None] = OrderedDict()

    def __getitem__(self, key: ChunkKey) -> Chunk:
        value = super().__getitem__(key)
        self._order.move_to_end(key)
        return value

    def __setitem__(self, key: ChunkKey, value: Chunk) -> None:
        super().__setitem__(key, value)
        self._order[key] = None
        self._order.move_to_end(key)

    def __delitem__(self, key: ChunkKey) -> None:
        super().__delitem__(key)
        del self._order[key]

    def popitem(self) -> tuple[ChunkKey, Chunk]:
        """Remove and return the pair that was used last."""
        key = next(reversed(self._order))
        return key, self.pop(key)


POLICIES: dict[str, Callable[[float, Callable[[Chunk], float]], ChunkCache]] = {
    "LRU": cachetools.LRUCache,
    "LFU": cachetools.LFUCache,
    "FIFO": cachetools.FIFOCache,
    "MRU": MRUCache,
}
