"""One store call's writing: which backend still takes chunks, and which chunks are acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lmcache_admin.engine.backends.protocol import Backend
from lmcache_admin.engine.chunks import Chunk, ChunkKey


class Writer:
    """Writes a chain of chunks, first to last, through to each backend.

    A backend takes no more than fits into it at once: the end of a long chain must not evict its own
    beginning, without which it cannot be found. After a failed write a backend gets no more of this chain.

    Args:
        targets: The backends that take part, by name.
    """

    def __init__(self, targets: Mapping[str, Backend]) -> None:
        self._targets = dict(targets)
        durable = [backend for backend in targets.values() if backend.durable]
        self._required = durable or list(targets.values())
        self._written = 0

    def write(self, key: ChunkKey, nbytes: int, gather: Callable[[], Chunk]) -> None:
        """Write the next chunk to those backends that do not have it.

        Args:
            key: The chunk's key.
            nbytes: Size of its payload.
            gather: Makes the chunk; called once, and only if it is needed.
        """
        chunk: Chunk | None = None
        self._written += 1
        for name, backend in list(self._targets.items()):
            if self._written > backend.room(nbytes):
                del self._targets[name]
            elif not backend.confirm(key):
                chunk = chunk or gather()
                if not backend.put(key, chunk):
                    del self._targets[name]

    def acknowledged(self, key: ChunkKey) -> bool:
        """Whether every backend that outlives the process has the chunk; if none does, whether memory has."""
        return bool(self._required) and all(backend.contains(key) for backend in self._required)
