"""What the engine asks of a backend, and the figures that each one keeps about itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from lmcache_admin.engine.chunks import Chunk, ChunkKey


@dataclass
class Counters:
    """Events since the backend was made; the owner's lock guards them."""

    hits: int = 0
    misses: int = 0
    puts: int = 0
    put_failures: int = 0
    evictions: int = 0
    corrupt: int = 0
    newer_format: int = 0


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
        """Whether the chunk is there, readable and, if durable, on the medium: a put can be spared."""

    def touch(self, keys: Iterable[ChunkKey]) -> None:
        """Make chunks recently used one after the other, the last one most."""

    def remove(self, key: ChunkKey) -> bool:
        """Drop one chunk; whether it was there."""

    def clear(self) -> dict[str, int]:
        """Drop every chunk; tokens by chunk name (`chunk_name`)."""

    def room(self, nbytes: int) -> int:
        """How many chunks of that payload size fit into the whole backend."""

    def stats(self) -> dict[str, int]:
        """Present figures: chunks, bytes, capacity and the fields of `Counters`."""

    def close(self) -> None:
        """Take no more chunks and give none; what is durable stays."""
