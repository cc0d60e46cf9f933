"""The listening socket: takes connections in, bounds their number, cuts those that take too long."""

from __future__ import annotations

import contextlib
import errno
import heapq
import logging
import os
import socket
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from lmcache_admin.serving.answers import Refusal, unknown_sender
from lmcache_admin.serving.channel import Channel
from lmcache_admin.serving.options import connections_allowed
from lmcache_admin.serving.poller import READ

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed.wsgi import WSGIApplication
    from waitress.adjustments import Adjustments

    from lmcache_admin.serving.call import Call
    from lmcache_admin.serving.loop import Loop
    from lmcache_admin.serving.options import CheckBody, ServerOptions
    from lmcache_admin.serving.parser import Request

logger = logging.getLogger(__name__)
access_logger = logging.getLogger("lmcache_admin.access")

ACCEPTS_A_TURN = 64
CARE_SECONDS = 1.0
BACK_OFF_SECONDS = 0.2
EVICTED_AT_ONCE = 32
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_TRY_LATER = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR, errno.ECONNABORTED)


class Listener:
    """What waitress' channels know as their server, on a socket that already listens."""

    server_name = "localhost"

    def __init__(
        self,
        application: WSGIApplication,
        loop: Loop,
        sock: socket.socket,
        adj: Adjustments,
        options: ServerOptions,
    ) -> None:
        self.application = application
        self.loop = loop
        self.adj = adj
        self.active_channels: dict[int, Channel] = {}
        self.backing_off = False
        self.next_care = 0.0
        self.fd = sock.fileno()
        self.local = sock.family == socket.AF_UNIX
        self.effective_port = "unix" if self.local else sock.getsockname()[1]
        self._socket = sock
        self.linger_seconds = options.linger_seconds
        self._options = options
        self.own_headers = options.headers
        self._limit = connections_allowed(options.connection_limit)
        self._spare_fd: int | None = None
        self._victims: deque[tuple[float, Channel]] = deque()
        self._logged_at = float("-inf")
        loop.watch(self.fd)

    # -- what waitress' channels call

    def add_task(self, channel: Channel) -> None:
        """A channel has a complete request; the loop serves it after reading."""
        self.loop.front.arrivals.append(channel)

    def pull_trigger(self) -> None:
        """Wake the loop."""
        self.loop.poke()

    def log_access(self, call: Call, by_loop: bool) -> None:
        """One line per request, without what the query says; a log that blocks must not hold the loop."""
        if self._options.access_log and access_logger.isEnabledFor(logging.INFO):
            milliseconds = (time.monotonic() - call.arrived) * 1000
            facts = (call.request.command, call.request.path, call.status[:3] or "-", call.bytes_sent)
            line = "%s %r %s %d bytes %.1f ms lane=%s", *facts, milliseconds, call.route.lane
            if by_loop:
                self.loop.front.watch.run_errand(partial(access_logger.info, *line))
            else:
                access_logger.info(*line)

    def body_check(self, sock: socket.socket) -> Callable[[Request], Refusal | None] | None:
        """What a request of this connection asks before much of its body is read; None where nobody is asked."""
        check = self._options.check_body
        return None if check is None else partial(self._refusal_of_body, check, sock)

    def _refusal_of_body(self, check: CheckBody, sock: socket.socket, request: Request) -> Refusal | None:
        record = check(request.command, request.path, request.headers, sock)
        if record is None:
            return None
        self.loop.front.watch.run_errand(record)
        return unknown_sender()

    # -- connections in

    def accept(self) -> None:
        """Take in what waits, at most `ACCEPTS_A_TURN` of them."""
        for number in range(ACCEPTS_A_TURN):
            if len(self.active_channels) >= self._limit and (number or not self._evict()):
                if not number:
                    self._back_off(f"all {self._limit} connections are busy")
                return
            try:
                conn, addr = self._socket.accept()
            except OSError as error:
                # without room accept fails before it looks whether anybody waits; the first one surely does
                short = error.errno in _NO_ROOM and number == 0
                if short and (self._evict() or self._spend_spare()):
                    continue
                if short or error.errno not in (*_TRY_LATER, *_NO_ROOM):
                    self._back_off(error.strerror or str(error))
                return
            self._open(conn, addr)

    def _open(self, conn: socket.socket, addr: Any) -> None:
        try:
            if self.local:
                addr = ("localhost", None)
            else:
                conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            Channel(self, conn, addr)
        except OSError as error:  # the client has already gone
            logger.debug("a new connection failed: %s", error)
            self.active_channels.pop(conn.fileno(), None)
            self.loop.map.pop(conn.fileno(), None)
            conn.close()

    def _evict(self) -> bool:
        """Close the connection that has been idle longest; whether there was one."""
        if not self._victims:
            idle = ((c.active_at, id(c), c) for c in self.active_channels.values() if c.idle)
            self._victims.extend((at, c) for at, _, c in heapq.nsmallest(EVICTED_AT_ONCE, idle))
        while self._victims:
            active_at, channel = self._victims.popleft()
            if channel.fd is not None and channel.idle and channel.active_at == active_at:
                channel.handle_close()
                return True
        return False

    def _spend_spare(self) -> bool:
        if self._spare_fd is None:
            return False
        os.close(self._spare_fd)
        self._spare_fd = None
        return True

    def _back_off(self, reason: str) -> None:
        now = time.monotonic()
        if now - self._logged_at >= 1.0:
            self._logged_at = now
            logger.warning("new connections have to wait: %s", reason)
        if not self.backing_off and self._socket.fileno() >= 0:
            self.backing_off = True
            self.loop.set_mask(self.fd, 0)
        self.next_care = min(self.next_care, now + BACK_OFF_SECONDS)

    # -- connections out

    def care(self, now: float) -> None:
        """What is due every second: old connections out, the spare descriptor back, accepting resumed."""
        self.next_care = now + CARE_SECONDS
        if self._spare_fd is None:
            with contextlib.suppress(OSError):
                self._spare_fd = os.open(os.devnull, os.O_RDONLY)
        if self.backing_off and self._socket.fileno() >= 0:
            self.backing_off = False
            self.loop.set_mask(self.fd, READ)
        for channel in list(self.active_channels.values()):
            self._look_after(channel, now)

    def _look_after(self, channel: Channel, now: float) -> None:
        options = self._options
        partial = channel.request
        if channel.lingers_until is not None:
            if now > channel.lingers_until:
                channel.handle_close()
        elif channel.reads_too_slowly(now, options.slow_reader_seconds, options.slow_reader_rate):
            self._drop(channel)
        elif channel.call is None and not channel.requests and partial is not None:
            seconds = options.body_seconds if partial.headers_finished else options.header_seconds
            if now - partial.started > seconds:
                part = "body" if partial.headers_finished else "header"
                message = f"the request's {part} was not complete within {seconds:g} s"
                channel.cut(Refusal(408, "Request Timeout", "Request Timeout", message, close=True))
        elif channel.idle and now - channel.active_at > options.idle_seconds:
            channel.handle_close()

    def _drop(self, channel: Channel) -> None:
        channel.will_close = True
        channel.handle_close()

    def close(self) -> None:
        """Stop listening; connections stay."""
        if self._socket.fileno() >= 0:
            self.loop.unwatch(self.fd)
            self._socket.close()
            self.fd = -1
        self._spend_spare()

    def leave_to_parent(self) -> None:
        """In a forked child: close our copies."""
        self._socket.close()
        self._spend_spare()
