"""One call's passage through the backends: a chain of chunks written to all, or read from the first that has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

from lmcache_admin.engine.backends.protocol import Backend
from lmcache_admin.engine.chunks import Chunk, ChunkKey


class Writer:
    """Writes a chain of chunks, first to last, through to each backend.

    A backend takes no more than fits into it at once: the end of a long chain must not evict its own
    beginning, without which it cannot be found. After a failed write a backend gets no more of this chain,
    nor is asked about the rest: what would follow a gap cannot be retrieved, and is not acknowledged.

    Args:
        targets: The backends that take part, by name.
    """

    def __init__(self, targets: Mapping[str, Backend]) -> None:
        self._targets = dict(targets)
        self._open = list(targets)
        self._required = [name for name, backend in targets.items() if backend.durable] or list(targets)
        self._kept: dict[str, dict[ChunkKey, None]] = {name: {} for name in targets}  # in the chain's order
        self._begun = 0

    def write(self, key: ChunkKey, nbytes: int, gather: Callable[[], Chunk]) -> None:
        """Write the next chunk to those backends that do not have it.

        Args:
            key: The chunk's key.
            nbytes: Size of its payload.
            gather: Makes the chunk; called once, and only if it is needed.
        """
        chunk = cache(gather)
        self._begun += 1
        for name in list(self._open):
            backend = self._targets[name]
            fits = self._begun <= backend.room(nbytes)
            if fits and (backend.confirm(key) or backend.put(key, chunk())):
                self._kept[name][key] = None
            else:
                self._open.remove(name)

    def finish(self) -> None:
        """Let the chain's end be evicted before its beginning."""
        for name, keys in self._kept.items():
            self._targets[name].touch(reversed(keys))

    def acknowledged(self, key: ChunkKey) -> bool:
        """Whether the chunk is where it must be, by what happened in this call.

        That is in every backend that outlives the process; if none takes part, in memory. A backend has it
        if it confirmed or kept the chunk when it was this one's turn, and has not dropped it since.
        """
        return bool(self._required) and all(
            key in self._kept[name] and self._targets[name].contains(key) for name in self._required
        )


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
