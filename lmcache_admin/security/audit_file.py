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

from lmcache_admin.forks import remember
from lmcache_admin.security.audit_chain import HEADER, Link, chained, read_link
from lmcache_admin.security.audit_places import (
    beside,
    check_owner,
    files_of,
    first_number,
    last_link,
    parse_head,
    rotated_of,
    tail_from,
)
from lmcache_admin.security.private_files import PASSING, sync_folder

#: Seconds between two fsyncs: destructive changes that come closer together share one.
GROUP_SECONDS = 0.1
#: Seconds to wait for the lock that processes share, before the line counts as not written.
PATIENCE = 2.0
_SHOWN = 1024 * 1024  # bytes at the file's end that the newest lines are looked for in
_MODE = 0o600


class AuditFile:
    """Appends lines to the chain in `path`; several processes may do so at the same time, forked ones too.

    Beside it lie `<path>.1`, `<path>.2` … (rotated, the higher the older) and `<path>.head`, which holds the lock and
    names the first and last line that must be there.

    Args:
        path: The file; its folder must exist.
        max_bytes: Size from which it is rotated.
        keep: Rotated files that are kept.

    Raises:
        OSError: It cannot be opened or made, or others may write it; a full disk is no reason not to start.
    """

    def __init__(self, path: str, max_bytes: int, keep: int) -> None:
        self.path = Path(path)
        self._max_bytes, self._keep = max_bytes, keep
        self._lock, self._syncing = threading.Lock(), threading.Lock()
        self._synced_at, self._synced = 0.0, 0
        self._last = Link()
        self._file = self._head = -1
        self._end = -1  # size of the file after our last line; another size means that somebody else wrote
        self._inode = -1
        self._closed = False
        #: Why it could not be opened at the start, if that may pass by itself.
        self.trouble: OSError | None = None
        try:
            with self._alone():
                self._catch_up()
        except OSError as error:
            if error.errno not in PASSING:
                raise
            self.trouble = error
        remember(self)

    def append(self, record: Mapping[str, Any], sync: bool = False, patience: float = PATIENCE) -> None:
        """Write a line, and with `sync` return only when it is on the medium.

        Args:
            record: What the line says.
            sync: Whether it must be on the medium.
            patience: Seconds to wait for whoever is writing.

        Raises:
            OSError: It could not be written; nothing of it is in the file.
        """
        with self._turn(patience), self._alone(patience):
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
            self._closed = True
            self._let_go()

    def leave_to_parent(self) -> None:
        """In a forked child: what was inherited shares its lock with the parent's, so open everything anew."""
        self._lock, self._syncing = threading.Lock(), threading.Lock()
        self._let_go()

    def newest(self, count: int) -> list[dict[str, Any]]:
        """The last lines, newest first, as far as the newest file's end holds them."""
        with open(self.path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _SHOWN))
            lines = file.read().splitlines()
        if size > _SHOWN:
            lines = lines[1:]
        records = []
        for line in reversed(lines):
            with contextlib.suppress(ValueError, RecursionError):
                read_link(line)  # what is none is not shown
                record = json.loads(line)
                if "lmcache_admin_audit" not in record:
                    records.append(record)
            if len(records) == count:
                break
        return records

    # -- under the lock

    @contextlib.contextmanager
    def _turn(self, patience: float) -> Iterator[None]:
        if not self._lock.acquire(timeout=patience):
            raise OSError(errno.EAGAIN, "another line is being written and does not end")
        try:
            yield
        finally:
            self._lock.release()

    @contextlib.contextmanager
    def _alone(self, patience: float = PATIENCE) -> Iterator[None]:
        if self._closed:
            raise OSError(errno.EBADF, "the audit is closed")
        if self._head < 0:
            self._head = _opened(beside(self.path, "head"), 0)
        _lock_within(self._head, patience)
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
        if facts is None or self._file < 0 or facts.st_ino != self._inode:
            self._open()
        elif facts.st_size == self._end:
            return
        size = self._without_torn_line(os.fstat(self._file).st_size)
        self._last = last_link(self._file, size) or self._link_before()
        self._end = size

    def _open(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._file = _opened(self.path, os.O_APPEND)
        facts = os.fstat(self._file)
        self._inode, self._end = facts.st_ino, facts.st_size
        if self._end == 0:
            self._write(HEADER)
            sync_folder(str(self.path.parent))

    def _let_go(self) -> None:
        for descriptor in (self._file, self._head):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._head = self._inode = -1

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
        start, torn = tail_from(self._file, size)
        if not torn:
            return size
        aside = beside(self.path, f"torn-{time.time_ns()}")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        try:
            os.write(descriptor, torn)
        finally:
            os.close(descriptor)
        os.ftruncate(self._file, start)
        return start

    def _link_before(self) -> Link:
        """The end of the chain where the file holds no line yet: it goes on from the one before."""
        found = [self._read_head()[1]]
        for file in rotated_of(self.path)[-1:]:
            with contextlib.suppress(OSError), file.open("rb") as before:
                found.append(last_link(before.fileno(), os.fstat(before.fileno()).st_size) or Link())
        return max(found, key=lambda link: link.number)

    def _rotate(self) -> None:
        """Make room; a crash anywhere in here leaves more than the head asks for, never less."""
        os.fsync(self._file)  # who waits for the medium will only see to the file that is open then
        rotated = rotated_of(self.path)
        gone = rotated[: max(0, len(rotated) - max(0, self._keep - 1))] if self._keep else [*rotated, self.path]
        left = [file for file in files_of(self.path) if file not in gone]
        self._write_head(first_number(left[0]) if left else self._last.number + 1, self._last)
        for file in gone:
            file.unlink()
        for file in left[:-1]:  # the oldest first, so that none takes another's name
            file.rename(beside(self.path, str(int(file.suffix[1:]) + 1)))
        if self._keep:
            self.path.rename(beside(self.path, "1"))
        self._open()

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


def _lock_within(descriptor: int, patience: float) -> None:
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise OSError(errno.EAGAIN, "another process holds the audit's lock") from None
            time.sleep(0.002)
        else:
            return


def _opened(path: Path, flags: int) -> int:
    """Open a file that must be ours, and make it where there is none."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flags, _MODE)
    try:
        check_owner(descriptor)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
