"""The audit on disk: appended under a lock that processes share, rotated by size, and continued after any crash."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lmcache_admin.security.audit_chain import HEADER, BrokenChain, Link, chained, read_link, verify

#: Seconds between two fsyncs: destructive changes that come closer together share one.
GROUP_SECONDS = 0.1
_TAIL = 256 * 1024  # bytes read for the last line; the longest line is far below
_MODE = 0o600


class AuditFile:
    """Appends lines to the chain in `path`; several processes may do so at the same time.

    Beside it lie `<path>.1`, `<path>.2` … (rotated, the higher the older) and `<path>.head`, which holds the lock and
    names the first and last line that must be there.

    Args:
        path: The file; its folder must exist.
        max_bytes: Size from which it is rotated.
        keep: Rotated files that are kept.

    Raises:
        OSError: It cannot be opened or made.
    """

    def __init__(self, path: str, max_bytes: int, keep: int) -> None:
        self.path = Path(path)
        self._max_bytes, self._keep = max_bytes, keep
        self._lock = threading.Lock()
        self._syncing = threading.Lock()
        self._synced_at = 0.0
        self._synced = 0
        self._last = Link()
        self._file = -1
        self._end = -1  # size of the file after our last line; another size means that somebody else wrote
        self._inode = -1
        self._head = os.open(self._beside("head"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
        with self._alone():
            self._catch_up()

    def append(self, record: Mapping[str, Any], sync: bool = False) -> None:
        """Write a line, and with `sync` return only when it is on the medium.

        Raises:
            OSError: It could not be written; nothing of it is in the file.
        """
        with self._lock, self._alone():
            self._catch_up()
            if self._end >= self._max_bytes:
                self._rotate()
            line, link = chained(record, self._last)
            self._write(line)
            self._last = link
            self._note_head(link)
        if sync:
            self._sync(link.number)

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            for descriptor in (self._file, self._head):
                if descriptor >= 0:
                    os.close(descriptor)
            self._file = self._head = -1

    def newest(self, count: int) -> list[dict[str, Any]]:
        """The last lines, newest first, as far as the newest file's end holds them."""
        with open(self.path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 4 * _TAIL))
            lines = file.read().splitlines()
        if size > 4 * _TAIL:
            lines = lines[1:]
        records = []
        for line in reversed(lines):
            with contextlib.suppress(ValueError):
                record = json.loads(line)
                if "seq" in record:
                    records.append(record)
            if len(records) == count:
                break
        return records

    # -- under the lock

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        if self._head < 0:
            raise OSError(errno.EBADF, "the audit is closed")
        fcntl.flock(self._head, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._head, fcntl.LOCK_UN)

    def _catch_up(self) -> None:
        """Open the file that now has this name, set a torn line aside, and learn where the chain ends."""
        try:
            facts = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            facts = None
        if facts is None or facts.st_ino != self._inode:
            self._open()
        elif facts.st_size == self._end:
            return
        size = self._without_torn_line(os.fstat(self._file).st_size)
        self._last = self._last_link(size)
        self._end = size

    def _open(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.open(self.path, flags, _MODE)
        self._inode = os.fstat(self._file).st_ino
        self._end = os.fstat(self._file).st_size
        if self._end == 0:
            self._write(HEADER)

    def _write(self, line: bytes) -> None:
        before = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, line)
            written += os.write(self._file, line[written:]) if written < len(line) else 0  # the second says why
        except OSError:
            self._end = -1
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, before)
            raise
        self._end = before + len(line)

    def _without_torn_line(self, size: int) -> int:
        tail = os.pread(self._file, _TAIL, max(0, size - _TAIL))
        if not tail or tail.endswith(b"\n"):
            return size
        torn = tail[tail.rfind(b"\n") + 1 :]
        aside = self._beside(f"torn-{time.time_ns()}")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        try:
            os.write(descriptor, torn)
        finally:
            os.close(descriptor)
        os.ftruncate(self._file, size - len(torn))
        return size - len(torn)

    def _last_link(self, size: int) -> Link:
        tail = os.pread(self._file, _TAIL, max(0, size - _TAIL))
        for line in reversed(tail.splitlines()):
            with contextlib.suppress(ValueError):
                return read_link(line)
        return self._read_head()[1]  # a fresh file: the chain goes on from the one before

    def _rotate(self) -> None:
        dropped = self._rotated(self._keep)
        if dropped.exists():
            dropped.unlink()
        for number in range(self._keep - 1, 0, -1):
            if self._rotated(number).exists():
                self._rotated(number).rename(self._rotated(number + 1))
        if self._keep:
            self.path.rename(self._rotated(1))
        else:
            self.path.unlink()
        self._open()
        first = _first_number(self.files()[0]) or self._last.number + 1
        self._write_head(first, self._last)

    # -- what must be there

    def _note_head(self, link: Link) -> None:
        first, _ = self._read_head()
        self._write_head(first or link.number, link)

    def _write_head(self, first: int, last: Link) -> None:
        os.pwrite(self._head, f"{first:020d} {last.number:020d} {last.digest}\n".encode(), 0)

    def _read_head(self) -> tuple[int, Link]:
        return parse_head(os.pread(self._head, 128, 0))

    # -- the medium

    def _sync(self, number: int) -> None:
        """One fsync for all who wait, and at most one in `GROUP_SECONDS`."""
        with self._syncing:
            if self._synced >= number:
                return
            time.sleep(max(0.0, self._synced_at + GROUP_SECONDS - time.monotonic()))
            with self._lock:
                covered, descriptor = self._last.number, os.dup(self._file)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            self._synced, self._synced_at = covered, time.monotonic()

    # -- names

    def files(self) -> list[Path]:
        """All files of the chain, oldest first."""
        return files_of(self.path)

    def _rotated(self, number: int) -> Path:
        return self._beside(str(number))

    def _beside(self, ending: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{ending}")


def files_of(path: Path) -> list[Path]:
    """The files of a chain, oldest first."""
    rotated = [one for one in path.parent.glob(f"{path.name}.*") if one.suffix[1:].isdigit()]
    ordered = sorted(rotated, key=lambda one: -int(one.suffix[1:]))
    return [*ordered, *([path] if path.exists() else [])]


def parse_head(text: bytes) -> tuple[int, Link]:
    """Read what a head file says: the number of the first line that must be there, and the last link."""
    cells = text.split()
    if len(cells) < 3 or not cells[0].isdigit() or not cells[1].isdigit():
        return 0, Link()
    return int(cells[0]), Link(int(cells[1]), cells[2].decode("ascii", "replace"))


def verify_files(path: Path) -> tuple[int, int]:
    """Verify the chain in `path` and its rotated files.

    Returns:
        Number of the first and of the last line; (0, 0) when there is none.

    Raises:
        BrokenChain: It names file and line.
        OSError: A file cannot be read.
    """
    first = number = 0
    for _, record in verify(_lines(path)):
        first, number = first or record["seq"], record["seq"]
    wanted, last = parse_head(_read_head_of(path))
    if wanted and first != wanted:
        raise BrokenChain(str(path), f"lines {wanted} to {first - 1 if first else last.number} are missing")
    if last.number > number:
        raise BrokenChain(str(path), f"lines {number + 1} to {last.number} are missing at the end")
    return first, number


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    for file in files_of(path):
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                yield f"{file}:{number}", line


def _read_head_of(path: Path) -> bytes:
    try:
        return path.with_name(f"{path.name}.head").read_bytes()
    except FileNotFoundError:
        return b""


def _first_number(file: Path) -> int:
    with file.open("rb") as lines:
        for line in lines:
            with contextlib.suppress(ValueError):
                return read_link(line).number
    return 0
