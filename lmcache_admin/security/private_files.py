"""Files that hold credentials: only their owner may read them, and a change counts without a restart."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from lmcache_admin.settings_error import SettingsError

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds between two looks at a file that is in use.
LOOK_SECONDS = 1.0
#: Largest file of tokens or users, bytes.
MAX_BYTES = 1024 * 1024


#: Errors of a disk that may end by themselves: full, over quota, read-only, failing.
PASSING = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO))


class NotPrivate(ValueError):
    """A file that others than its owner may read or write, or that belongs to somebody else."""


def read_private(path: str) -> bytes:
    """Read a file that must be its owner's alone (requirement S4).

    Raises:
        NotPrivate: Group or others may read or write it, or its owner is neither this process's user nor root.
        OSError: It cannot be read, or is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise NotPrivate("it is no regular file")
        if facts.st_mode & 0o077:
            raise NotPrivate(f"its mode is {stat.S_IMODE(facts.st_mode):04o}; wanted: 0600")
        if facts.st_uid not in (os.geteuid(), 0):
            raise NotPrivate(f"it belongs to uid {facts.st_uid}; wanted: {os.geteuid()} or root")
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise NotPrivate(f"it is larger than {MAX_BYTES} bytes")
    return content


class WatchedFile(Generic[T]):
    """What a file of credentials says, as of at most a second ago.

    A file that breaks while the server runs keeps what it said before (S5): `problem` says why, and the log once.

    Args:
        key: The setting that names the file.
        path: The file.
        parse: Makes the value of its text; raises ValueError with the line that is wrong, and no secret in it.
        maker: Command that makes such a file.

    Raises:
        SettingsError: It cannot be used at the start.
    """

    def __init__(self, key: str, path: str, parse: Callable[[str], T], maker: str) -> None:
        self.path = path
        self.problem: str | None = None
        self._parse = parse
        self._lock = threading.Lock()
        self._looked = time.monotonic()
        self._seal = _seal(path)
        try:
            self._value = self._read()
        except (OSError, ValueError) as error:
            allowed = f"a file of mode 0600 that this process owns, as `lmcache-admin {maker} --file {path}` makes it"
            raise SettingsError(key, path, allowed, reason=_why(error)) from None

    def value(self) -> T:
        """What the file says."""
        if time.monotonic() - self._looked >= LOOK_SECONDS and self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._lock.release()
        return self._value

    def look_now(self) -> None:
        """Look at the file at once, whatever time has passed."""
        with self._lock:
            self._look()

    def _look(self) -> None:
        self._looked = time.monotonic()
        seal = _seal(self.path)
        if seal == self._seal:
            return
        self._seal = seal
        try:
            self._value = self._read()
        except (OSError, ValueError) as error:
            self.problem = _why(error)
            logger.error("%s is not taken over, what it said before counts: %s", self.path, self.problem)  # noqa: TRY400
        else:
            self.problem = None
            logger.info("%s was read anew", self.path)

    def _read(self) -> T:
        return self._parse(read_private(self.path).decode())


def _seal(path: str) -> tuple[int, ...] | None:
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_mode, facts.st_uid


def _why(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return str(error.strerror or error) if isinstance(error, OSError) else str(error)


@contextlib.contextmanager
def changing(path: str) -> Iterator[None]:
    """Keep other programs of ours from changing a file at the same time; the lock lies beside it."""
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_private(path: str, content: bytes) -> None:
    """Write a file of mode 0600 so that a reader, also after a crash, finds the old one or the new one (S59).

    Raises:
        OSError: It could not be written; the old one is as it was.
    """
    folder = os.path.dirname(os.path.abspath(path))
    temporary = f"{path}.new-{secrets.token_hex(8)}"  # a name that nobody has made, to own what we write
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(folder)


def sync_folder(folder: str) -> None:
    """Bring the names in a folder onto the medium."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
