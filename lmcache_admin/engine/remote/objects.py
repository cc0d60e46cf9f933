"""Chunks as objects of a bucket: LMCache's on S3, each a payload alone, with a checksum of ours in its metadata."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from lmcache_admin.engine.chunks import Chunk, ChunkKey
from lmcache_admin.engine.errors import CorruptChunkError
from lmcache_admin.engine.remote.codec import Form, Record
from lmcache_admin.engine.remote.protocol import BATCH, Scope

HIDDEN = ".lmcache-admin/"


@dataclass(frozen=True)
class Facts:
    """What a bucket says about an object.

    Args:
        size: Bytes.
        tag: Another one after each writing.
        checksum: Our metadata, None when somebody else wrote the object.
    """

    size: int
    tag: str
    checksum: str | None


class Objects(Protocol):
    """One bucket; methods raise StoreDownError and StoreRefusedError."""

    def get(self, name: str) -> tuple[bytes, Facts] | None:
        """An object and what is said about it, of one and the same writing."""

    def facts(self, name: str) -> Facts | None:
        """What is said about an object."""

    def put(self, name: str, payload: bytes, checksum: str) -> Facts:
        """Write an object; it is there whole once this returns, or as before."""

    def delete(self, names: list[str]) -> None:
        """Delete up to 1,000 objects; those that are not there count as deleted."""

    def listed(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Names that begin so, with their sizes."""


class ObjectStore:
    """One bucket, or the part of it below a prefix.

    Args:
        objects: The bucket.
        form: How the chunks look.
        place: How the store is called in messages.
        prefix: What stands before each object's name.
    """

    def __init__(self, objects: Objects, form: Form, place: str, prefix: str = "") -> None:
        self.place = place
        self._objects = objects
        self._form = form
        self._prefix = prefix

    def read(self, key: ChunkKey) -> Chunk | None:
        """The chunk; one that somebody else wrote is not checked."""
        found = self._objects.get(self._name(key))
        if found is None:
            return None
        payload, facts = found
        record = Record.parse(None if facts.checksum is None else f"{facts.checksum}\n")
        return self._form.decode(b"", payload, record, probe=key.reserved)

    def write(self, key: ChunkKey, chunk: Chunk) -> Hashable:
        """Write the object with its checksum in one request."""
        self._form.admit(chunk, probe=key.reserved)
        checksum = Record.of(b"", chunk.payload).text.strip()
        return self._objects.put(self._name(key), bytes(chunk.payload), checksum)

    def exists(self, key: ChunkKey) -> bool:
        """Whether there is an object with content."""
        facts = self._objects.facts(self._name(key))
        return facts is not None and facts.size > 0

    def mark(self, key: ChunkKey) -> Hashable | None:
        """Size, tag and checksum."""
        return self._objects.facts(self._name(key))

    def settle(self, key: ChunkKey) -> None:
        """Nothing to do: an object that is there is on the medium."""

    def remove(self, key: ChunkKey) -> bool:
        """Delete the object."""
        name = self._name(key)
        if self._objects.facts(name) is None:
            return False
        self._objects.delete([name])
        return True

    def set_aside(self, key: ChunkKey) -> bool:
        """Delete the object."""
        try:
            self.read(key)
        except CorruptChunkError:
            self._objects.delete([self._name(key)])
            return True
        return False

    def keys(self) -> Iterator[str]:
        """The objects' names; what was `/` in a key is `_` there."""
        for name, _ in self._objects.listed(self._prefix):
            text = name.removeprefix(self._prefix)
            if not text.startswith(HIDDEN):
                yield text

    def purge(self, scope: Scope) -> Iterator[Mapping[ChunkKey, int]]:
        """Delete the objects of one deployment, batch by batch."""
        start = _flat(f"{scope.model_name}@{scope.world_size}@")
        names: list[str] = []
        batch: dict[ChunkKey, int] = {}
        for name, size in self._objects.listed(f"{self._prefix}{start}"):
            with suppress(ValueError):  # a name that is no key
                listed = ChunkKey.parse(name.removeprefix(self._prefix))
                key = listed._replace(model_name=scope.model_name)
                if scope.holds(key):
                    batch[key] = self._form.tokens(None, size)
                    names.append(name)
            if len(names) >= BATCH:
                self._objects.delete(names)
                yield batch
                names, batch = [], {}
        if names:
            self._objects.delete(names)
            yield batch

    def close(self) -> None:
        """Connections go with the last user of the bucket."""

    def _name(self, key: ChunkKey) -> str:
        """Name of a chunk's object. Source: LMCache 0.5.6, S3 connector."""
        return f"{self._prefix}{HIDDEN if key.reserved else ''}{_flat(key.text)}"


def _flat(text: str) -> str:
    return text.replace("/", "_")
