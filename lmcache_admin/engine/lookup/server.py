"""The worker's side: one thread that answers every scheduler's lookups on a Unix socket."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
import threading
import time
from collections import OrderedDict

from lmcache_admin import forks
from lmcache_admin.engine.lookup.answers import Lookups, answer
from lmcache_admin.engine.lookup.frames import PIECE, FrameError, FrameReader, frame
from lmcache_admin.engine.lookup.place import peer_is_trusted
from lmcache_admin.socket_files import SocketFile, StartError, reason

logger = logging.getLogger(__name__)

BACKLOG = 64
CONNECTIONS = 64  # the one that was silent longest gives way to a new one
PATIENCE = 10.0  # seconds for a message that has begun
END_SECONDS = 5.0


class LookupServer:
    """Serves lookups from its making until `close`.

    Args:
        engine: Whom to ask.
        path: The socket's file, made with mode 0600.
        replacing: Whether a server of ours holds that file and is to be closed afterwards: the new one takes its
            place without a moment in between.

    Raises:
        StartError: The socket cannot be had, or another process serves it.
    """

    def __init__(self, engine: Lookups, path: str, *, replacing: bool = False) -> None:
        self._engine = engine
        self._connections: OrderedDict[socket.socket, _Connection] = OrderedDict()  # by last message
        self._closing = self._left = self._complained = False
        self._thread = threading.Thread(target=self._run, name="lmcache-admin-lookup", daemon=True)
        self._file = SocketFile(f"{path}.new" if replacing else path, 0o600, BACKLOG)
        try:
            self._selector = selectors.DefaultSelector()
            self._wake, self._woken = socket.socketpair()
        except OSError as error:
            self._file.remove()
            self._file.socket.close()
            raise StartError(f"cannot serve lookups on {path!r}: {reason(error)}") from error
        forks.remember(self)
        try:
            self._begin(path)
        except (RuntimeError, OSError) as error:  # no thread to be had, or the name cannot be taken
            self.close()
            raise StartError(f"cannot serve lookups on {path!r}: {reason(error)}") from error

    @property
    def path(self) -> str:
        """The socket's file."""
        return self._file.path

    def close(self) -> None:
        """Stop answering and remove the file; may be called twice. In a forked child it does nothing."""
        forks.forget(self)
        if self._left or self._closing:
            return
        self._closing = True
        self._file.remove()
        if self._thread.ident is None:
            self._shut()
            return
        with contextlib.suppress(OSError):
            self._wake.send(b"x")
        self._thread.join(END_SECONDS)
        if self._thread.is_alive():
            logger.warning("A lookup is still under way after %.0f s; its thread ends with it", END_SECONDS)

    def leave_to_parent(self) -> None:
        """In a forked child: close our copies, the parent serves on."""
        self._left = True
        self._shut()

    def _begin(self, path: str) -> None:
        self._selector.register(self._file.socket, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread.start()
        if self._file.path != os.path.abspath(path):
            self._file.move(path)

    def _shut(self) -> None:
        for sock in (*self._connections, self._file.socket, self._wake, self._woken):
            sock.close()
        self._selector.close()

    def _run(self) -> None:
        try:
            while not self._closing:
                for key, _ in self._selector.select(1.0 if self._waiting() else None):
                    if key.fileobj is self._file.socket:
                        self._accept()
                    elif isinstance(key.data, _Connection):
                        self._hear(key.data)
        except Exception:  # the engine lives on, its schedulers say that lookups miss
            logger.exception("The lookup server on %r has ended; create it anew", self._file.path)
        finally:
            self._shut()

    def _waiting(self) -> bool:
        """Whether a message has begun somewhere; drops those that take too long."""
        begun = [one for one in self._connections.values() if one.reader.begun]
        for connection in begun:
            if time.monotonic() - connection.heard > PATIENCE:
                self._drop(connection)
        return bool(begun)

    def _accept(self) -> None:
        try:
            sock, _ = self._file.socket.accept()
        except OSError:  # it has gone away again, or there are no descriptors: no busy loop until there are
            time.sleep(0.05)
            return
        sock.setblocking(False)
        if not peer_is_trusted(sock):
            sock.close()
            self._complain("of another user")
            return
        if len(self._connections) >= CONNECTIONS:
            self._drop(next(iter(self._connections.values())))
        connection = self._connections[sock] = _Connection(sock)
        self._selector.register(sock, selectors.EVENT_READ, connection)

    def _hear(self, connection: _Connection) -> None:
        try:
            piece = connection.sock.recv(PIECE)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece or not self._answer(connection, piece):
            self._drop(connection)

    def _answer(self, connection: _Connection, piece: bytes) -> bool:
        """Answer the messages that a piece completes; whether the connection goes on."""
        connection.heard = time.monotonic()
        self._connections.move_to_end(connection.sock)
        try:
            for message in connection.reader.feed(piece):
                reply = frame(answer(self._engine, message))
                if connection.sock.send(reply) != len(reply):
                    return False
        except FrameError as error:
            self._complain(f"with {error}")
            return False
        except OSError:  # it is gone, or it does not read
            return False
        return True

    def _drop(self, connection: _Connection) -> None:
        if self._connections.pop(connection.sock, None) is not None:
            self._selector.unregister(connection.sock)
            connection.sock.close()

    def _complain(self, what: str) -> None:
        level = logging.DEBUG if self._complained else logging.WARNING
        self._complained = True
        logger.log(level, "A connection %s was closed on the lookup socket %r", what, self._file.path)


class _Connection:
    """One scheduler's connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.reader = FrameReader()
        self.heard = time.monotonic()
