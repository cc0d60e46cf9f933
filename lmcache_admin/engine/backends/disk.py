"""Chunks on local disk, bounded by bytes, shared by every process that uses the same folders."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from typing import NamedTuple, TypeVar

from lmcache_admin.engine.aside import Aside, sync
from lmcache_admin.engine.backends import files
from lmcache_admin.engine.backends.folders import PROBE, SUFFIX, Folders
from lmcache_admin.engine.backends.index import Seal
from lmcache_admin.engine.backends.inventory import Inventory
from lmcache_admin.engine.backends.protocol import Counters, OnRemoved
from lmcache_admin.engine.buffers import GrowingPool
from lmcache_admin.engine.chunks import Chunk, ChunkKey, Layout
from lmcache_admin.engine.errors import CorruptChunkError, NewerFormatError

logger = logging.getLogger(__name__)

HEADER_ROOM = 512  # bytes of a file besides its payload, for estimates
Result = TypeVar("Result")


class Begun(NamedTuple):
    """A chunk that is written aside.

    Args:
        name: The chunk's.
        size: Bytes that are reserved for it; 0 for a probe's, which counts nowhere.
        path: Where its file will be.
        aside: Its file as it is.
    """

    name: str
    size: int
    path: str
    aside: Aside


class LocalDiskBackend:
    """Keeps chunks as files; the file system is the truth, the index only serves the budget.

    Args:
        folders: Where to keep the files; made where absent.
        capacity: Bytes of all files together, those of other processes included.
        layout: The only layout that is taken; None takes any.

    Raises:
        StorageError: A folder cannot be made.
    """

    durable = True

    def __init__(
        self, folders: Sequence[str | os.PathLike[str]], capacity: int, *, layout: Layout | None = None
    ) -> None:
        self._folders = Folders(folders)
        self._inventory = Inventory(self._folders, capacity)
        self._index = self._inventory.index
        self._layout = layout
        self._lock = threading.Lock()
        self._counters = Counters()
        self._buffers = GrowingPool()
        self._failing = False
        self._closed = False

    def put(self, key: ChunkKey, chunk: Chunk) -> bool:
        """Keep the chunk; True once file and name are on the medium."""
        begun = self.begin(key, chunk)
        return begun is not None and self.complete([begun])[0]

    def begin(self, key: ChunkKey, chunk: Chunk) -> Begun | None:
        """Write the chunk aside, None if that failed; it is kept once `complete` says so."""
        if self._closed:
            return None
        size = 0 if key.reserved else chunk.nbytes + HEADER_ROOM
        refused = size and (self._layout not in (None, chunk.layout) or size > self._index.capacity)
        begun = None if refused else self._begin(key, chunk, size)
        if begun is None and size:
            self._count("put_failures")
        return begun

    def complete(self, begun: Sequence[Begun]) -> list[bool]:
        """Bring what was begun onto the medium, names too; for each whether it is there."""
        named = [self._attempt(one.path, partial(files.name_chunk, one.aside, one.path)) for one in begun]
        folders = {os.path.dirname(one.path) for one, facts in zip(begun, named, strict=True) if facts is not None}
        synced = {folder for folder in folders if self._attempt(f"{folder}/", partial(_synced, folder))}
        return [
            self._end(one, facts if os.path.dirname(one.path) in synced else None)
            for one, facts in zip(begun, named, strict=True)
        ]

    def expect(self, key: ChunkKey) -> bool:
        """Whether there is a file for the chunk; the system begins to read it."""
        path = None if self._closed else self._folders.find(self._name(key))
        return path is not None and files.expect(path)

    def get(self, key: ChunkKey) -> Chunk | None:
        """The chunk, read and checked, or None; a corrupt file is set aside and is a miss."""
        chunk = None if self._closed else self._read(key)
        if not key.reserved:
            self._count("misses" if chunk is None else "hits")
        return chunk

    def contains(self, key: ChunkKey) -> bool:
        """Whether there is a file for the chunk, whoever wrote it."""
        return not self._closed and self._folders.find(self._name(key)) is not None

    def confirm(self, key: ChunkKey) -> bool:
        """Whether the chunk is there, whole and on the medium.

        A file that this process has written or read, and whose size, inode and times are the same since, is
        not read again; any other is. What was damaged beneath the file system shows only when it is read.
        """
        name = self._name(key)
        path = None if self._closed else self._folders.find(name)
        if path is None:
            return False
        try:
            seal = Seal.of(os.stat(path))
            if not self._index.vouches(name, seal):
                if self._read(key) is None:
                    return False
                seal = Seal.of(os.stat(path))
            if not self._index.vouches(name, seal, synced=True):
                sync(path)
                sync(os.path.dirname(path))
                self._index.sync(name, seal)
        except OSError:
            return False
        self._index.touch(name, time.time_ns())
        return True

    def touch(self, keys: Iterable[ChunkKey]) -> None:
        """Make chunks recently used one after the other, for every process that shares the folders."""
        for key in keys:
            name = self._name(key)
            path = self._folders.find(name)
            if path is not None:
                self._inventory.touch(name, path)

    def remove(self, key: ChunkKey) -> bool:
        """Delete the chunk's file; whether it was there."""
        name = self._name(key)
        path = self._folders.find(name)
        return path is not None and self._inventory.drop(name, path)

    def clear(self, on_removed: OnRemoved | None = None) -> dict[str, int]:
        """Delete every chunk's file that is there now; tokens by chunk name."""
        cleared: dict[str, int] = {}
        for path in self._folders.paths():
            name, tokens = os.path.basename(path).removesuffix(SUFFIX), files.read_tokens(path)
            if self._inventory.drop(name, path):
                cleared[name] = tokens
                if on_removed is not None:
                    on_removed(1)
        return cleared

    def room(self, nbytes: int) -> int:
        """How many chunks of that payload size fit at once."""
        return self._index.capacity // (nbytes + HEADER_ROOM)

    def stats(self) -> dict[str, int]:
        """Chunks, bytes, capacity and counters; files of other processes as of the last scan."""
        chunks, used = self._index.totals()
        with self._lock:
            counters = asdict(self._counters)
        return {"chunks": chunks, "bytes": used, "capacity": self._index.capacity, **counters}

    def close(self) -> None:
        """Take and give nothing more; the files stay."""
        self._closed = True

    def _name(self, key: ChunkKey) -> str:
        name = files.chunk_name(key, self._layout)
        return f"{PROBE}{name}" if key.reserved else name

    def _count(self, what: str, times: int = 1) -> None:
        with self._lock:
            setattr(self._counters, what, getattr(self._counters, what) + times)

    def _begin(self, key: ChunkKey, chunk: Chunk, size: int) -> Begun | None:
        name = self._name(key)
        path = self._folders.home(name)
        aside = None
        self._index.reserve(name, size)
        try:
            if size:
                self._count("evictions", self._inventory.make_room())
            aside = self._attempt(path, partial(files.write_chunk, os.path.dirname(path), key, chunk))
        finally:
            if aside is None:
                self._index.release(name, size)
        return None if aside is None else Begun(name, size, path, aside)

    def _end(self, begun: Begun, facts: os.stat_result | None) -> bool:
        self._index.release(begun.name, begun.size)
        if facts is not None:
            self._failing = False
        if begun.size:
            if facts is not None:
                self._inventory.note(begun.name, Seal.of(facts), synced=True)
            self._count("put_failures" if facts is None else "puts")
        return facts is not None

    def _attempt(self, path: str, act: Callable[[], Result]) -> Result | None:
        try:
            return act()
        except OSError as error:
            if not self._failing:  # once until it works again: a full disk fails with every chunk
                folder = os.path.dirname(path)
                logger.error("Cannot write a chunk to %r: %s", folder, error.strerror)  # noqa: TRY400
            self._failing = True
            return None

    def _read(self, key: ChunkKey) -> Chunk | None:
        name = self._name(key)
        path = self._folders.find(name)
        if path is None:
            self._index.forget(name)
            return None
        found = self._read_file(key, name, path)
        if found is None:
            self._index.withdraw(name)  # also where the file cannot be set aside: it is to be written anew
            return None
        seal, chunk = found
        if not key.reserved:
            if not self._index.vouches(name, seal):
                self._inventory.note(name, seal, synced=False)
            self._inventory.touch(name, path)
        return chunk

    def _read_file(self, key: ChunkKey, name: str, path: str) -> tuple[Seal, Chunk] | None:
        try:
            facts = os.stat(path)
            text, chunk = files.read_chunk(path, self._buffers)
        except CorruptChunkError as error:
            self._set_aside(name, path, facts.st_ino, error)
            return None
        except (NewerFormatError, OSError) as error:
            self._report(path, error)
            return None
        if text != key.text or self._layout not in (None, chunk.layout):
            return None
        return Seal.of(facts), chunk

    def _report(self, path: str, error: Exception) -> None:
        if isinstance(error, NewerFormatError):
            self._count("newer_format")
        if not isinstance(error, FileNotFoundError):
            logger.warning("Chunk file %r is not read: %s", path, error)

    def _set_aside(self, name: str, path: str, inode: int, error: CorruptChunkError) -> None:
        if self._folders.set_aside(path, inode):
            self._index.forget(name)
            self._count("corrupt")
            logger.error("Chunk file %r is corrupt and was set aside: %s", path, error)


def _synced(folder: str) -> bool:
    sync(folder)
    return True
