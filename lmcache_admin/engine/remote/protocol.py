"""What the remote backend asks of a store that it shares with others, and how a store fails."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from lmcache_admin.engine.chunks import Chunk, ChunkKey

#: Chunks that a store removes at once, and lists between two reports.
BATCH = 256


class StoreError(Exception):
    """A store did not do what was asked; the text says why and holds no secret."""


class StoreDownError(StoreError):
    """It does not answer, or refuses everything: nothing else is worth asking for a while."""


class StoreRefusedError(StoreError):
    """It answers, and did not do this one thing: no space, read-only, no permission."""


@dataclass(frozen=True)
class Scope:
    """The chunks of one deployment among those that share a store.

    Args:
        model_name: The engine's model.
        world_size: Its number of workers.
        dtype: Element type, a name of `DTYPE_SIZES`.
    """

    model_name: str
    world_size: int
    dtype: str

    def holds(self, key: ChunkKey) -> bool:
        """Whether the chunk belongs to this deployment, to whichever worker of it."""
        return (key.model_name, key.world_size, key.dtype) == (self.model_name, self.world_size, self.dtype)


class Store(Protocol):
    """A place for chunks, whatever is there written by whom; every method may be called by any thread.

    All methods besides `close` raise StoreDownError and StoreRefusedError.
    """

    @property
    def place(self) -> str:
        """Where it is, for messages: without user and password."""

    def read(self, key: ChunkKey) -> Chunk | None:
        """The chunk, checked as far as it can be; None when it is not there.

        Raises:
            CorruptChunkError: It is damaged.
            UnsuitableChunkError: It is another's: of another layout or form.
            NewerFormatError: A later version wrote its checksum.
        """

    def write(self, key: ChunkKey, chunk: Chunk) -> Hashable:
        """Keep the chunk, whole and on the medium when this returns; the `mark` of what was written.

        Raises:
            UnsuitableChunkError: This store takes no such chunk.
        """

    def exists(self, key: ChunkKey) -> bool:
        """Whether there is something under the key."""

    def mark(self, key: ChunkKey) -> Hashable | None:
        """What tells this writing of the chunk from a later one, without reading the payload; None: not there."""

    def settle(self, key: ChunkKey) -> None:
        """Bring a chunk that somebody else may have written onto the medium."""

    def remove(self, key: ChunkKey) -> bool:
        """Drop the chunk and its checksum; whether it was there."""

    def set_aside(self, key: ChunkKey) -> bool:
        """Take a damaged chunk out of everybody's view; False if it is no longer damaged or not there."""

    def keys(self) -> Iterator[str]:
        """Every chunk key's text, in no order, also of texts that are no keys of ours."""

    def purge(self, scope: Scope) -> Iterator[Mapping[ChunkKey, int]]:
        """Remove the chunks of one deployment batch by batch; each batch with its chunks' tokens."""

    def close(self) -> None:
        """Let go of connections."""


