"""Files that are whole or not there: written aside, brought onto the medium, renamed."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lmcache_admin.engine.backends.files import TEMPORARY

_numbers = itertools.count()


class Aside:
    """A file that is being written under a temporary name; gone again unless it was renamed.

    Args:
        folder: Where it is written; on the file system of its later place.
        mode: Its permissions, less the process's umask.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, folder: Path, mode: int) -> None:
        self.descriptor, self._path = _open(folder, mode)
        self._renamed = False

    def __enter__(self) -> Aside:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._renamed:
            with suppress(OSError):
                self._path.unlink()
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

    def rename(self, path: Path) -> None:
        """Give the file its name, in place of what had it."""
        os.rename(self._path, path)
        self._renamed = True


def _open(folder: Path, mode: int) -> tuple[int, Path]:
    """A new file that holds a lock as long as its writer lives: `remove_leftovers` spares it."""
    while True:
        path = folder / f"{TEMPORARY}{os.getpid()}-{next(_numbers)}-{os.urandom(4).hex()}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with suppress(OSError):  # a network file system without locks: a crash leaves the file, nothing worse
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor, path
        os.close(descriptor)  # a starting process took it for a leftover before the lock was ours
