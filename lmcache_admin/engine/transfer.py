"""One call's passage through the backends: a chain of chunks written to all, or read from the first that has it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import NamedTuple

from lmcache_admin.engine.backends.protocol import Backend, batching, foreseeing
from lmcache_admin.engine.chunks import Chunk, ChunkKey

BATCH = 16  # chunks that are brought onto a medium together
BATCH_BYTES = 64 * 1024 * 1024  # or fewer, if they are as large as that
AHEAD = 4  # chunks of a chain that a medium may begin to read before their turn


class Piece(NamedTuple):
    """A chunk to be written.

    Args:
        key: Its key.
        nbytes: Size of its payload.
        gather: Makes it; called once at most, and only where it is needed.
    """

    key: ChunkKey
    nbytes: int
    gather: Callable[[], Chunk]


class Writer:
    """Writes a chain of chunks, first to last, through to each backend.

    A backend takes no more than fits into it at once: the end of a long chain must not evict its own
    beginning, without which it cannot be found. After a failed write a backend gets no more of this chain,
    nor is asked about the rest: what would follow a gap cannot be retrieved, and is not acknowledged.

    Args:
        targets: The backends that take part, by name.
    """

    def __init__(self, targets: Mapping[str, Backend]) -> None:
        self._lanes = [_Lane(backend) for backend in targets.values()]
        self._required = [lane for lane in self._lanes if lane.backend.durable] or self._lanes

    def write(self, chain: Sequence[Piece]) -> None:
        """Write a chain to those backends that do not have it; all is where it can be when this returns."""
        held = 0
        try:
            for number, piece in enumerate(chain, 1):
                chunk = cache(piece.gather)
                for lane in self._lanes:
                    lane.take(number, piece, chunk)
                held += piece.nbytes
                if number % BATCH == 0 or held >= BATCH_BYTES:
                    held = 0
                    self._settle()
        finally:
            self._settle()

    def finish(self) -> None:
        """Let the chain's end be evicted before its beginning."""
        for lane in self._lanes:
            lane.backend.touch(reversed(lane.kept))

    def acknowledged(self, key: ChunkKey) -> bool:
        """Whether the chunk is where it must be, by what happened in this call.

        That is in every backend that outlives the process; if none takes part, in memory. A backend has it
        if it confirmed or kept the chunk when it was this one's turn, and has not dropped it since.
        """
        return bool(self._required) and all(
            key in lane.kept and lane.backend.contains(key) for lane in self._required
        )

    def _settle(self) -> None:
        for lane in self._lanes:
            lane.settle()


class _Lane:
    """A chain's way into one backend."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.kept: dict[ChunkKey, None] = {}  # in the chain's order
        self._batching = batching(backend)
        self._begun: list[tuple[ChunkKey, object | None]] = []  # None: there already
        self._open = True

    def take(self, number: int, piece: Piece, chunk: Callable[[], Chunk]) -> None:
        """Take the chain's chunk of that number, from 1."""
        self._open = self._open and number <= self.backend.room(piece.nbytes) and self._take(piece, chunk)

    def _take(self, piece: Piece, chunk: Callable[[], Chunk]) -> bool:
        begun = None
        if not self.backend.confirm(piece.key):
            if self._batching is None:
                if not self.backend.put(piece.key, chunk()):
                    return False
            elif (begun := self._batching.begin(piece.key, chunk())) is None:
                return False
        self._begun.append((piece.key, begun))
        return True

    def settle(self) -> None:
        """Have kept what was begun."""
        taken, self._begun = self._begun, []
        begun = [one for _, one in taken if one is not None]
        done = iter(self._batching.complete(begun) if self._batching is not None and begun else [])
        for key, one in taken:
            if one is not None and not next(done):
                self._open = False
                return
            self.kept[key] = None


class Reader:
    """Reads a chain of chunks, first to last, each from the first backend that can give it.

    Args:
        sources: The backends that take part, by name, in search order.
        promote: Where a chunk that came from elsewhere is put as well; None for nowhere.
    """

    def __init__(self, sources: Mapping[str, Backend], promote: Backend | None) -> None:
        self._sources = list(sources.values())
        self._foresight = [_foresight(source) for source in self._sources]
        self._promote = promote
        self._keys: dict[int, list[ChunkKey]] = {number: [] for number in range(len(self._sources))}

    def read(self, keys: Iterable[ChunkKey]) -> Iterator[Chunk]:
        """The chunks of a chain, up to the first one that no backend can give."""
        coming = self._foreseen(keys)
        window = deque(islice(coming, AHEAD))
        while window and (chunk := self._get(window.popleft())) is not None:
            window.extend(islice(coming, 1))
            yield chunk

    def finish(self) -> None:
        """Let the chain's end be evicted before its beginning."""
        for number, keys in self._keys.items():
            self._sources[number].touch(reversed(keys))

    def _foreseen(self, keys: Iterable[ChunkKey]) -> Iterator[ChunkKey]:
        """The keys; backends learn of those that wait for another's turn, up to one that is nowhere."""
        there = True
        for number, key in enumerate(keys):
            there = there and (number == 0 or self._foresee(key))
            yield key

    def _foresee(self, key: ChunkKey) -> bool:
        return any(foresee(key) for foresee in self._foresight)

    def _get(self, key: ChunkKey) -> Chunk | None:
        for number, backend in enumerate(self._sources):
            chunk = backend.get(key)
            if chunk is None:
                continue
            self._keys[number].append(key)
            if self._promote is not None and self._promote is not backend:
                self._promote.put(key, chunk)
            return chunk
        return None


def _foresight(source: Backend) -> Callable[[ChunkKey], bool]:
    """What tells a backend of a chunk that will be asked for, and whether it may be there."""
    able = foreseeing(source)
    if able is not None:
        return able.expect
    return (lambda key: True) if source.durable else source.contains  # elsewhere a question takes as long as a read
