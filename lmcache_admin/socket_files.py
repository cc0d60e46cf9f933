"""Unix socket files that are ours alone to make and to remove, and why an address cannot be had."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import socket
import stat
from collections.abc import Iterator

SOCKET_PATH_LIMIT = 107  # bytes, as struct sockaddr_un has 108 with the end mark


class StartError(Exception):
    """The server cannot start; one line says why."""


def reason(error: Exception) -> str:
    """What the system said, as the end of a line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text[:1].lower() + text[1:]


class SocketFile:
    """A listening Unix socket and the file that stands for it; only a stale socket in its place is replaced.

    Args:
        path: Where; folders that are missing are made for us alone.
        mode: The file's mode.
        backlog: How many connections may wait.

    Raises:
        StartError: It cannot be had; nothing was changed.
    """

    def __init__(self, path: str, mode: int, backlog: int) -> None:
        self.path = os.path.abspath(path)
        self.socket = self._listen(mode, backlog)
        found = os.lstat(self.path)
        self._identity = (found.st_dev, found.st_ino)

    def remove(self) -> None:
        """Remove the file if it is still the one that we made."""
        with contextlib.suppress(OSError):
            found = os.lstat(self.path)
            if (found.st_dev, found.st_ino) == self._identity:
                os.unlink(self.path)

    def move(self, path: str) -> None:
        """Take the name of another socket file of ours at once: nobody meets a moment without either."""
        os.rename(self.path, path)
        self.path = os.path.abspath(path)

    def _listen(self, mode: int, backlog: int) -> socket.socket:
        size = len(os.fsencode(self.path))
        if size > SOCKET_PATH_LIMIT:
            raise self._error(f"the path has {size} bytes, {SOCKET_PATH_LIMIT} are allowed")
        folder = os.path.dirname(self.path)
        try:
            _make_folder(folder)
            with _locked(folder):
                self._clear_way()
                return self._bind(mode, backlog)
        except OSError as error:
            raise self._error(reason(error)) from error

    def _error(self, reason: str) -> StartError:
        return StartError(f"cannot listen on {self.path!r}: {reason}")

    def _clear_way(self) -> None:
        """Remove a stale socket; StartError for anything else that is there."""
        folder = os.path.dirname(self.path)
        mode = os.stat(folder).st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise self._error(f"others may write to the folder {folder!r} (mode {stat.S_IMODE(mode):04o})")
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(found.st_mode):
            raise self._error("something that is no socket is in the way, remove it first")
        if _answers(self.path):
            raise self._error("another process serves it")
        os.unlink(self.path)

    def _bind(self, mode: int, backlog: int) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            _bind_private(sock, self.path)
            os.chmod(self.path, mode)
            sock.listen(backlog)
        except OSError:
            sock.close()
            raise
        return sock


def remove_stale(folder: str, name: re.Pattern[str]) -> None:
    """Remove the sockets with such names that nobody listens on any more: killed processes have left them."""
    with contextlib.suppress(OSError), _locked(folder):
        for entry in list(os.scandir(folder)):
            if name.fullmatch(entry.name) and stat.S_ISSOCK(os.lstat(entry.path).st_mode) and not _answers(entry.path):
                os.unlink(entry.path)


def _make_folder(folder: str) -> None:
    """Make a folder and those above it for us alone."""
    if os.path.isdir(folder):
        return
    above = os.path.dirname(folder)
    if above != folder:
        _make_folder(above)
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Two servers that start at once must not take each other's new socket for a stale one."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # some network file systems lock no folders
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _answers(path: str) -> bool:
    """Whether somebody listens on a socket file."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except OSError as error:
            return error.errno not in (errno.ECONNREFUSED, errno.ENOENT)
    return True


def _bind_private(sock: socket.socket, path: str) -> None:
    """Bind so that the file has mode 0600 from its first moment.

    Linux gives the file the mode of the unbound socket. Elsewhere the umask does it, which counts for
    the whole process while it is set.
    """
    try:
        os.fchmod(sock.fileno(), 0o600)
    except OSError:
        before = os.umask(0o177)
        try:
            sock.bind(path)
        finally:
            os.umask(before)
    else:
        sock.bind(path)
