"""Chunks on local disk, bounded by bytes, shared by every process that uses the same folders."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from lmcache_admin.engine.aside import sync
from lmcache_admin.engine.backends import files
from lmcache_admin.engine.backends.folders import PROBE, SUFFIX, Folders
from lmcache_admin.engine.backends.index import Index, Seal
from lmcache_admin.engine.backends.protocol import Counters, OnRemoved
from lmcache_admin.engine.chunks import Chunk, ChunkKey, Layout
from lmcache_admin.engine.errors import CorruptChunkError, NewerFormatError

logger = logging.getLogger(__name__)

HEADER_ROOM = 512  # bytes of a file besides its payload, for estimates


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
        self._layout = layout
        self._index = Index(capacity)
        self._index.merge(self._folders.scan(), 0)
        self._scanning = threading.Lock()
        self._lock = threading.Lock()
        self._counters = Counters()
        self._failing = False
        self._closed = False

    def put(self, key: ChunkKey, chunk: Chunk) -> bool:
        """Keep the chunk; True once file and name are on the medium."""
        if self._closed:
            return False
        if key.reserved:
            return self._write(key, chunk) is not None
        size = chunk.nbytes + HEADER_ROOM
        if self._layout not in (None, chunk.layout) or size > self._index.capacity:
            self._count("put_failures")
            return False
        self._index.reserve(size)
        try:
            self._scan_when_due()
            self._make_room()
            written = self._write(key, chunk)
        finally:
            self._index.release(size)
        if written is None:
            self._count("put_failures")
            return False
        self._note(self._name(key), Seal.of(written), synced=True)
        self._count("puts")
        return True

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
            seal = Seal.of(path.stat())
            if not self._index.vouches(name, seal):
                if self._read(key) is None:
                    return False
                seal = Seal.of(path.stat())
            if not self._index.vouches(name, seal, synced=True):
                sync(path)
                sync(path.parent)
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
                self._touch(name, path)

    def remove(self, key: ChunkKey) -> bool:
        """Delete the chunk's file; whether it was there."""
        name = self._name(key)
        path = self._folders.find(name)
        return path is not None and self._drop(name, path)

    def clear(self, on_removed: OnRemoved | None = None) -> dict[str, int]:
        """Delete every chunk's file that is there now; tokens by chunk name."""
        cleared: dict[str, int] = {}
        for path in self._folders.paths():
            name, tokens = path.name.removesuffix(SUFFIX), files.read_tokens(path)
            if self._drop(name, path):
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

    def _count(self, what: str) -> None:
        with self._lock:
            setattr(self._counters, what, getattr(self._counters, what) + 1)

    def _write(self, key: ChunkKey, chunk: Chunk) -> os.stat_result | None:
        path = self._folders.home(self._name(key))
        try:
            written = files.write_chunk(path, key, chunk)
        except OSError as error:
            if not self._failing:  # once until it works again: a full disk fails with every chunk
                logger.error("Cannot write a chunk to %r: %s", str(path.parent), error.strerror)  # noqa: TRY400
            self._failing = True
            return None
        self._failing = False
        return written

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
            self._note(name, seal, synced=self._index.vouches(name, seal, synced=True))
            self._touch(name, path)
        return chunk

    def _read_file(self, key: ChunkKey, name: str, path: Path) -> tuple[Seal, Chunk] | None:
        try:
            facts = path.stat()
            text, chunk = files.read_chunk(path)
        except CorruptChunkError as error:
            self._set_aside(name, path, facts.st_ino, error)
            return None
        except (NewerFormatError, OSError) as error:
            self._report(path, error)
            return None
        if text != key.text or self._layout not in (None, chunk.layout):
            return None
        return Seal.of(facts), chunk

    def _report(self, path: Path, error: Exception) -> None:
        if isinstance(error, NewerFormatError):
            self._count("newer_format")
        if not isinstance(error, FileNotFoundError):
            logger.warning("Chunk file %r is not read: %s", str(path), error)

    def _set_aside(self, name: str, path: Path, inode: int, error: CorruptChunkError) -> None:
        if self._folders.set_aside(path, inode):
            self._index.forget(name)
            self._count("corrupt")
            logger.error("Chunk file %r is corrupt and was set aside: %s", str(path), error)

    def _touch(self, name: str, path: Path) -> None:
        now = time.time_ns()
        self._index.touch(name, now)
        with suppress(OSError):  # a read-only folder; then only this process knows the order of use
            before = Seal.of(path.stat())
            os.utime(path, ns=(now, now))
            self._index.reseal(name, before, Seal.of(path.stat()))

    def _scan_when_due(self) -> None:
        if not self._scanning.acquire(blocking=False):
            return
        try:
            stamp = self._index.scan_due()
            if stamp is not None:
                self._index.merge(self._folders.scan(), stamp)
        finally:
            self._scanning.release()

    def _make_room(self) -> None:
        while (victim := self._index.victim()) is not None:
            name, entry = victim
            path = self._folders.find(name)
            if path is None:
                continue
            with suppress(OSError):
                used = path.stat().st_mtime_ns
                if used > entry.used:  # another process used it since; it is not the oldest
                    self._index.add(name, entry.size, used)
                    continue
            if self._drop(name, path):
                self._count("evictions")
            elif path.exists():  # cannot be deleted; the write will show whether anything can be done here
                return

    def _note(self, name: str, seal: Seal, *, synced: bool) -> None:
        """Note a whole file, unless another thread has deleted it by now and will not look again."""
        self._index.add(name, seal.size, time.time_ns(), seal, synced=synced)
        if self._folders.find(name) is None:
            self._index.forget(name)

    def _drop(self, name: str, path: Path) -> bool:
        """Delete a file; one that another thread has written since stays noted."""
        try:
            path.unlink()
        except OSError:
            return False
        finally:
            self._index.forget(name)
            with suppress(OSError):
                if not name.startswith(PROBE):
                    self._index.add(name, path.stat().st_size, time.time_ns())
        return True
