"""Chunks as files in folders: what LMCache's fs connector writes and reads, and our checksums beside."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from lmcache_admin.engine.aside import Aside, sync
from lmcache_admin.engine.buffers import GrowingPool
from lmcache_admin.engine.chunks import Chunk, ChunkKey
from lmcache_admin.engine.errors import CorruptChunkError, UnsuitableChunkError
from lmcache_admin.engine.remote.codec import HEADER, Form, Record
from lmcache_admin.engine.remote.hidden import SUFFIX, Hidden, file_name, key_text
from lmcache_admin.engine.remote.protocol import BATCH, Scope, StoreDownError, StoreRefusedError
from lmcache_admin.engine.remote.regular import open_regular

# What says that the whole place is out of reach, as a network file system says it.
GONE = frozenset(
    getattr(errno, name)
    for name in ("EHOSTDOWN", "EHOSTUNREACH", "EIO", "ENETDOWN", "ENETUNREACH", "ENODEV", "ENOTCONN", "ENXIO", "ESTALE")
) | {errno.ETIMEDOUT}


class FolderStore:
    """One or several folders; a chunk's hash says in which of them it lies.

    Nothing is written but chunks, and what stands in the hidden folder of each.

    Args:
        paths: The folders, in an order that everybody who shares them keeps to.
        form: How the chunks look.
        place: How the store is called in messages.
    """

    def __init__(self, paths: Sequence[str], form: Form, place: str) -> None:
        self.place = place
        self._folders = [Path(path) for path in paths]
        self._hidden = {folder: Hidden(folder) for folder in self._folders}
        self._form = form
        self._buffers = GrowingPool()

    def make(self) -> None:
        """Make the folders that are absent, and remove what dead writers left; for a store that is written to.

        Raises:
            OSError: A folder cannot be made.
        """
        for folder, hidden in self._hidden.items():
            if not folder.is_dir():
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            hidden.tidy()

    def read(self, key: ChunkKey) -> Chunk | None:
        """The chunk; one whose file another program has replaced since our checksum was written is not checked."""
        with _told():
            return self._read(key)

    def write(self, key: ChunkKey, chunk: Chunk) -> Hashable:
        """Write aside, onto the medium, the checksum, then the name."""
        self._form.admit(chunk, probe=key.reserved)
        header = self._form.header(chunk)
        with _told():
            folder, path = self._paths(key)
            hidden = self._hidden[folder]
            mode = hidden.make()
            with Aside(hidden.path, mode) as aside:
                aside.write([header, chunk.payload])
                now = time.time_ns()  # finer than the kernel's clock: any later writing has another time
                os.utime(aside.descriptor, ns=(now, now))
                os.fsync(aside.descriptor)
                record = Record.of(header, chunk.payload, _writing(os.fstat(aside.descriptor)))
                hidden.note(path.name, record, mode)
                aside.rename(path)
                facts = os.fstat(aside.descriptor)
            sync(path.parent)
            return _seal(facts)

    def exists(self, key: ChunkKey) -> bool:
        """Whether there is a file."""
        with _told():
            return self._paths(key)[1].is_file()

    def mark(self, key: ChunkKey) -> Hashable | None:
        """Inode, size and times of the file."""
        with _told():
            try:
                return _seal(self._paths(key)[1].stat())
            except FileNotFoundError:
                return None

    def settle(self, key: ChunkKey) -> None:
        """Sync the file and its name."""
        with _told():
            path = self._paths(key)[1]
            sync(path)
            sync(path.parent)

    def remove(self, key: ChunkKey) -> bool:
        """Delete the file and its checksum."""
        with _told():
            folder, path = self._paths(key)
            try:
                path.unlink()
            except FileNotFoundError:
                return False
            self._hidden[folder].forget(path.name)
            return True

    def set_aside(self, key: ChunkKey) -> bool:
        """Move the file into the hidden folder, where a few of the latest are kept."""
        with _told():
            folder, path = self._paths(key)
            try:
                inode = path.stat().st_ino
                self._read(key)
            except FileNotFoundError:
                return False
            except CorruptChunkError:
                return self._hidden[folder].take_in(path, inode)
            return False

    def keys(self) -> Iterator[str]:
        """Texts of the files' names; `-SEP-` stands for `/` in them."""
        with _told():
            for _, path in self._files():
                yield key_text(path.name)

    def purge(self, scope: Scope) -> Iterator[Mapping[ChunkKey, int]]:
        """Delete the files of one deployment, then checksums without a file."""
        batch: dict[ChunkKey, int] = {}
        with _told():
            for folder, path in self._files():
                with suppress(ValueError):  # a name that is no key
                    key = ChunkKey.parse(key_text(path.name))
                    if scope.holds(key):
                        batch |= self._delete(folder, path, key)
                if len(batch) >= BATCH:
                    yield batch
                    batch = {}
            for hidden in self._hidden.values():
                hidden.tidy(orphans=True)
        if batch:
            yield batch

    def close(self) -> None:
        """Nothing is kept open."""

    def _paths(self, key: ChunkKey) -> tuple[Path, Path]:
        folder = self._folders[abs(key.chunk_hash) % len(self._folders)]
        return folder, (self._hidden[folder].path if key.reserved else folder) / file_name(key)

    def _read(self, key: ChunkKey) -> Chunk | None:
        folder, path = self._paths(key)
        try:
            file = open_regular(path)
        except FileNotFoundError:
            return None
        with file:
            facts = os.fstat(file.fileno())
            record = self._hidden[folder].record(path.name, _writing(facts))
            header = file.read(HEADER.size) or b"" if self._form.headers else b""
            if record is None:  # perhaps no chunk at all, of any size
                self._form.expects(header, facts.st_size - len(header))
            elif record.nbytes != facts.st_size:
                raise CorruptChunkError(f"{facts.st_size} bytes, but {record.nbytes} were written")
            payload = self._buffers.take(facts.st_size - len(header)).data
            if _fill(file, payload) != len(payload):
                raise CorruptChunkError("shorter than it was a moment ago")
        return self._form.decode(header, payload, record, probe=key.reserved)

    def _files(self) -> Iterator[tuple[Path, Path]]:
        for folder in self._folders:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.endswith(SUFFIX) and entry.name != SUFFIX:
                        yield folder, Path(entry.path)

    def _delete(self, folder: Path, path: Path, key: ChunkKey) -> Mapping[ChunkKey, int]:
        try:
            with open_regular(path) as file:
                header = file.read(HEADER.size) or b"" if self._form.headers else b""
                tokens = self._form.tokens(header, os.fstat(file.fileno()).st_size)
            path.unlink()
        except (FileNotFoundError, UnsuitableChunkError):  # gone, or no file at all
            return {}
        self._hidden[folder].forget(path.name)
        return {key: tokens}


def _fill(file: FileIO, buffer: memoryview) -> int:
    done = 0
    while done < len(buffer):
        count = file.readinto(buffer[done:])
        if not count:
            break
        done += count
    return done


def _writing(facts: os.stat_result) -> str:
    return f"{facts.st_ino}:{facts.st_mtime_ns}"


def _seal(facts: os.stat_result) -> Hashable:
    return facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


@contextmanager
def _told() -> Iterator[None]:
    """Tell what the system says in the store's own terms."""
    try:
        yield
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise (StoreDownError if error.errno in GONE else StoreRefusedError)(why) from error
    except ValueError as error:  # a NUL, or characters that no file name can hold
        raise StoreRefusedError(f"the key cannot be a file's name: {error}") from error
