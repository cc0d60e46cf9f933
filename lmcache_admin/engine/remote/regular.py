"""Regular files alone: a pipe, a socket or a device under a chunk's name would hold up whoever reads it."""

from __future__ import annotations

import errno
import os
import stat
from io import FileIO
from pathlib import Path

from lmcache_admin.engine.errors import UnsuitableChunkError

REFUSAL = "it is no regular file"


def open_regular(path: Path) -> FileIO:
    """Open a file for reading, without buffer; waits for nobody.

    Raises:
        UnsuitableChunkError: It is no regular file.
        OSError: It is not there, or cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENODEV, errno.EOPNOTSUPP) and not stat.S_ISREG(path.stat().st_mode):
            raise UnsuitableChunkError(REFUSAL) from None  # a socket; from a regular file it says the store is gone
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnsuitableChunkError(REFUSAL)
    return FileIO(descriptor, "r")
