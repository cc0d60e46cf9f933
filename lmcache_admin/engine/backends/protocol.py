"""What the engine asks of a backend, and the figures that each one keeps about itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, cast

from lmcache_admin.engine.chunks import Chunk, ChunkKey


@dataclass
class Counters:
    """Events since the backend was made; each only rises. The owner's lock guards them.

    Args:
        hits: Gets that gave a chunk.
        misses: Gets that gave none.
        puts: Chunks kept.
        put_failures: Chunks not kept: no space, no medium, another layout, larger than the backend.
        evictions: Chunks dropped for the budget's sake.
        corrupt: Files found corrupt and set aside.
        newer_format: Reads refused because a later version wrote the file; one file counts at each read.
    """

    hits: int = 0
    misses: int = 0
    puts: int = 0
    put_failures: int = 0
    evictions: int = 0
    corrupt: int = 0
    newer_format: int = 0


#: Called while a backend is emptied, with the number of chunks dropped since the last call; what it raises ends that.
OnRemoved = Callable[[int], None]
#: A backend calls it at least once in so many chunks.
REPORTED = 256

#: The figures of `Backend.stats` that only rise as long as the backend lives; the others go up and down.
COUNTERS = tuple(field.name for field in fields(Counters))


class Batching(Protocol):
    """What a backend can do besides: keep several chunks together in less time than one after the other.

    A put is a begin, and a complete with what it gave.
    """

    def begin(self, key: ChunkKey, chunk: Chunk) -> object | None:
        """Take a chunk, None if that failed; it is kept once `complete` says so."""

    def complete(self, begun: Sequence[Any]) -> list[bool]:
        """Keep what was begun, for each whether it is on the medium. Has to be called, once for each."""


class Foreseeing(Protocol):
    """What a backend can do besides: begin to read before it is asked."""

    def expect(self, key: ChunkKey) -> bool:
        """Whether the chunk is there; it will be asked for soon."""


def batching(backend: object) -> Batching | None:
    """The backend as one that keeps chunks together, if it can."""
    return cast(Batching, backend) if hasattr(backend, "begin") else None


def foreseeing(backend: object) -> Foreseeing | None:
    """The backend as one that begins to read before it is asked, if it can."""
    return cast(Foreseeing, backend) if hasattr(backend, "expect") else None


class Backend(Protocol):
    """A store of chunks; every method may be called by any thread at any time, also after `close`."""

    @property
    def durable(self) -> bool:
        """Whether chunks outlive the process."""

    def put(self, key: ChunkKey, chunk: Chunk) -> bool:
        """Keep a chunk; True once it is kept, and on the medium if durable. May evict others."""

    def get(self, key: ChunkKey) -> Chunk | None:
        """The chunk, or None; counts a hit or a miss."""

    def contains(self, key: ChunkKey) -> bool:
        """Whether the chunk is there, without reading it."""

    def confirm(self, key: ChunkKey) -> bool:
        """Whether the chunk is there, whole and, if durable, on the medium: a put can be spared."""

    def touch(self, keys: Iterable[ChunkKey]) -> None:
        """Make chunks recently used one after the other, the last one most."""

    def remove(self, key: ChunkKey) -> bool:
        """Drop one chunk; whether it was there."""

    def clear(self, on_removed: OnRemoved | None = None) -> dict[str, int]:
        """Drop every chunk; tokens by chunk name (`chunk_name`)."""

    def room(self, nbytes: int) -> int:
        """How many chunks of that payload size fit into the whole backend."""

    def stats(self) -> dict[str, int]:
        """Figures: `chunks`, `bytes` and `capacity` of this moment, and those of `COUNTERS`, which only rise.

        A store that others share has the latter alone: asking it could take long.
        A recreated backend counts from 0 again.
        """

    def close(self) -> None:
        """Take no more chunks and give none; what is durable stays."""
