"""One call's passage through the backends: a chain of chunks written to all, or read from the first that has it."""

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
        self._keys: list[ChunkKey] = []

    def write(self, key: ChunkKey, nbytes: int, gather: Callable[[], Chunk]) -> None:
        """Write the next chunk to those backends that do not have it.

        Args:
            key: The chunk's key.
            nbytes: Size of its payload.
            gather: Makes the chunk; called once, and only if it is needed.
        """
        chunk: Chunk | None = None
        self._keys.append(key)
        for name, backend in list(self._targets.items()):
            if len(self._keys) > backend.room(nbytes):
                del self._targets[name]
            elif not backend.confirm(key):
                chunk = chunk or gather()
                if not backend.put(key, chunk):
                    del self._targets[name]

    def finish(self) -> None:
        """Let the chain's end be evicted before its beginning."""
        for backend in self._targets.values():
            backend.touch(reversed(self._keys))

    def acknowledged(self, key: ChunkKey) -> bool:
        """Whether every backend that outlives the process has the chunk; if none does, whether memory has."""
        return bool(self._required) and all(backend.contains(key) for backend in self._required)


class Reader:
    """Reads a chain of chunks, first to last, each from the first backend that can give it.

    Args:
        sources: The backends that take part, by name, in search order.
        promote: Where a chunk that came from elsewhere is put as well; None for nowhere.
    """

    def __init__(self, sources: Mapping[str, Backend], promote: Backend | None) -> None:
        self._sources = list(sources.values())
        self._promote = promote
        self._keys: dict[int, list[ChunkKey]] = {number: [] for number in range(len(self._sources))}

    def read(self, key: ChunkKey) -> Chunk | None:
        """The next chunk, or None where no backend can give it."""
        for number, backend in enumerate(self._sources):
            chunk = backend.get(key)
            if chunk is None:
                continue
            self._keys[number].append(key)
            if self._promote is not None and self._promote is not backend:
                self._promote.put(key, chunk)
            return chunk
        return None

    def finish(self) -> None:
        """Let the chain's end be evicted before its beginning."""
        for number, keys in self._keys.items():
            self._sources[number].touch(reversed(keys))
