"""The HTTP server: bind, start, stop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from lmcache_admin import forks
from lmcache_admin.serving.dispatcher import Lanes
from lmcache_admin.serving.lanes import Classify, lane_limits
from lmcache_admin.serving.listener import Listener
from lmcache_admin.serving.loop import Loop
from lmcache_admin.serving.options import ServerOptions
from lmcache_admin.serving.sockets import listen_tcp
from lmcache_admin.serving.watch import Watch
from lmcache_admin.socket_files import SocketFile, StartError

if TYPE_CHECKING:
    import socket

    from _typeshed.wsgi import WSGIApplication

__all__ = ["HTTPServer", "ServerOptions", "StartError"]

logger = logging.getLogger(__name__)

END_SECONDS = 2.0  # how long stop() waits for threads that have nothing left to do


class HTTPServer:
    """Serves a WSGI application from threads of its own; each server has its own sockets and state.

    `port` is the real port once bound (None on a Unix socket), `socket_path` the socket file (None on
    TCP), `lanes` the live counters.
    """

    def __init__(self, application: WSGIApplication, classify: Classify, options: ServerOptions) -> None:
        self.options = options
        self.port: int | None = None if options.socket_path else options.port
        self.socket_path = options.socket_path
        self._application = application
        self._classify = classify
        self._socket: socket.socket | None = None
        self._file: SocketFile | None = None
        self._loop: Loop | None = None
        self._lock = threading.Lock()
        self._started = self._stopped = False
        self._ended = threading.Event()
        limits = lane_limits(options.lane_threads, options.lane_queues, options.deadlines)
        self.lanes = Lanes(limits, self._run_errand, options.deaths)

    # -- start

    def bind(self) -> None:
        """Take the address; StartError when that is not possible."""
        with self._lock:
            if self._stopped or self._socket is not None:
                return
            options = self.options
            if options.socket_path:
                self._file = SocketFile(options.socket_path, options.socket_mode, options.backlog)
                self._socket = self._file.socket
                self.socket_path = self._file.path
            else:
                self._socket = listen_tcp(options.host, options.port, options.backlog)
                self.port = self._socket.getsockname()[1]
            forks.remember(self)

    def start(self) -> None:
        """Serve; binds first if nobody has. StartError when that is not possible."""
        self.bind()
        with self._lock:
            if self._started or self._stopped or self._socket is None:
                return
            self._started = True
            try:
                self._start_threads(self._socket)
                return
            except (OSError, RuntimeError) as error:
                reason = str(error)
        self.stop(0)
        raise StartError(f"cannot start the server: {reason}")

    def _start_threads(self, sock: socket.socket) -> None:
        loop = self._loop = Loop(self._classify, self.lanes)
        loop.listener = Listener(self._application, loop, sock, self.options.adjustments(), self.options)
        loop.front.watch = Watch(loop, self._finish, self.options.deaths, self.options.look_after)
        self.lanes.start()
        loop.front.watch.start()

    def _run_errand(self, errand: Callable[[], None]) -> None:
        if self._loop is not None:
            self._loop.front.watch.run_errand(errand)

    # -- stop

    def stop(self, drain: float = 5.0) -> None:
        """End the server: no new requests, `drain` seconds for those under way, then everything is closed.

        May be called from any thread, before start, and again. Threads whose calls never return stay
        behind, as nothing can end them.
        """
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            if self._file is not None:
                self._file.remove()
            if self._loop is None:
                if self._socket is not None:
                    self._socket.close()
            else:
                self._end_loop(self._loop, drain)
            forks.forget(self)

    def _end_loop(self, loop: Loop, drain: float) -> None:
        watcher = loop.front.watch
        if watcher.runs:
            loop.drain(time.monotonic() + drain)
            if not self._ended.wait(drain + END_SECONDS):
                logger.warning("the loop did not end within %g s", drain + END_SECONDS)
        self._finish()
        until = time.monotonic() + END_SECONDS
        for thread in [*watcher.threads(), *self.lanes.stop()]:
            if thread is not threading.current_thread() and thread.ident is not None:
                thread.join(max(0.0, until - time.monotonic()))

    def _finish(self) -> None:
        """Close everything; the last work of the loop's thread."""
        loop = self._loop
        if loop is None or loop.closed:
            return
        try:
            loop.front.abandon()
        finally:
            loop.close()
            loop.front.watch.stop()
            self._ended.set()

    def leave_to_parent(self) -> None:
        """In a forked child: close what is the parent's, keep its socket file, have no server."""
        self._lock = threading.Lock()
        self._stopped = True
        if self._loop is not None:
            self._loop.leave_to_parent()
        if self._socket is not None:
            self._socket.close()
