"""Files that are whole or not there: written aside, brought onto the medium, renamed."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

TEMPORARY = ".writing-"
_numbers = itertools.count()


class Aside:
    """A file that is being written under a temporary name; gone again unless it was renamed.

    Args:
        folder: Where it is written; on the file system of its later place.
        mode: Its permissions, less the process's umask.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, folder: str | os.PathLike[str], mode: int) -> None:
        self.descriptor, self._path = _open(folder, mode)
        self._renamed = False

    def __enter__(self) -> Aside:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End of the writing; a file without its name is gone."""
        if not self._renamed:
            with suppress(OSError):
                os.unlink(self._path)
        os.close(self.descriptor)

    def write(self, parts: Sequence[bytes | bytearray | memoryview]) -> None:
        """Append all of the parts."""
        left = [memoryview(part) for part in parts if len(part)]
        while left:
            written = os.writev(self.descriptor, left)
            if written == 0:
                raise OSError(errno.EIO, "nothing was written")
            while left and written >= len(left[0]):
                written -= len(left.pop(0))
            if left:
                left[0] = left[0][written:]

    def hasten(self) -> None:
        """Have the system begin with the medium now: of several files a later sync then finds most of it done."""
        if hasattr(os, "posix_fadvise"):  # drops nothing here: what is being written stays in the page cache
            os.posix_fadvise(self.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def rename(self, path: str | os.PathLike[str]) -> None:
        """Give the file its name, in place of what had it."""
        os.rename(self._path, path)
        self._renamed = True


def sync(path: str | os.PathLike[str]) -> None:
    """Bring a file's content, or a folder's names, onto the medium."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # not to wait for a pipe's writer
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> int:
    """Remove temporary files whose writer is dead: a living one holds a lock on its file."""
    removed = 0
    for path in folder.glob(f"{TEMPORARY}*"):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            removed += 1
        except OSError:
            continue
        finally:
            os.close(descriptor)
    return removed


def _open(folder: str | os.PathLike[str], mode: int) -> tuple[int, str]:
    """A new file that holds a lock as long as its writer lives: `remove_leftovers` spares it."""
    while True:
        path = f"{os.fspath(folder)}/{TEMPORARY}{os.getpid()}-{next(_numbers)}-{os.urandom(4).hex()}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with suppress(OSError):  # a network file system without locks: a crash leaves the file, nothing worse
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor, path
        os.close(descriptor)  # a starting process took it for a leftover before the lock was ours
