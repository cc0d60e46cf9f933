"""One connection: bytes in and out as waitress does it, one request at a time, no wait in the loop."""

from __future__ import annotations

import contextlib
import copy
import logging
import socket
import time
from typing import TYPE_CHECKING, Any

from lmcache_admin.serving.answers import AppAnswer, OwnAnswer, Refusal, failed
from lmcache_admin.serving.parser import Request
from lmcache_admin.serving.stack import (
    ClientDisconnected,
    HTTPChannel,
    OverflowableBuffer,
    ReadOnlyFileBasedBuffer,
)

if TYPE_CHECKING:
    from waitress.adjustments import Adjustments

    from lmcache_admin.serving.call import Call
    from lmcache_admin.serving.listener import Listener

logger = logging.getLogger(__name__)


class Channel(HTTPChannel):
    """waitress' channel, answered through a `Call` that may outlive its deadline.

    The loop alone reads, closes and decides; a lane's thread writes its answer and then `release`s the
    request. After `give_up` nothing that a late call writes reaches the client.
    """

    def __init__(self, listener: Listener, sock: socket.socket, addr: Any) -> None:
        self.loop = listener.loop
        self.call: Call | None = None  # the request that is being answered
        self.muted = False  # bytes wait in the kernel until the request before them is answered
        self.given_up = False
        self.output_started = False
        self.active_at = time.monotonic()
        self.request_error = False  # the last request could not be read to its end
        self.lingers_until: float | None = None  # what comes is thrown away until then
        self._thrown_away = 0
        self.written = 0  # bytes of answers, sent or pending
        self._taken_at = self.active_at  # when the client was last seen to take enough of its answers
        self._taken = 0
        self.mask = 0
        super().__init__(listener, sock, addr, listener.adj, map=self.loop.map)

    def parser_class(self, adj: Adjustments) -> Request:
        """Begin to read a request; waitress' name for it."""
        return Request(adj, self.server.body_check(self.socket))

    # -- the loop's side

    def add_channel(self, map: Any = None) -> None:
        """Watch the socket."""
        super().add_channel(map)
        if self._fileno is not None:
            self.mask = self.loop.watch(self._fileno)

    def del_channel(self, map: Any = None) -> None:
        """Watch the socket no more."""
        if self._fileno is not None:
            self.loop.unwatch(self._fileno)
        super().del_channel(map)

    def handle_read(self) -> None:
        """Take what the client has sent; complete requests are handed to the loop."""
        self.active_at = time.monotonic()
        if self.lingers_until is None:
            super().handle_read()
        else:
            self._throw_away()

    def handle_write(self) -> None:
        """Send what is pending; close when that was the last."""
        last = self.request_error and self.close_when_flushed
        if last and not self.will_close:
            self._flush_exception(self._flush_some)
            if self.connected and not self.total_outbufs_len and not self.will_close:
                self._linger()
                return
        super().handle_write()

    def readable(self) -> bool:
        """Whether another request may be taken in."""
        if self.lingers_until is not None:
            return True
        return self.call is None and not self.given_up and bool(super().readable())

    def _linger(self) -> None:
        """Close after the client has seen the answer: closing on unread bytes would take it away."""
        if self.socket is not None:
            self.close_when_flushed = self.muted = False
            self.lingers_until = time.monotonic() + self.server.linger_seconds
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)

    def _throw_away(self) -> None:
        try:
            size = len(self.recv(65536))
        except OSError:
            size = 0
        self._thrown_away += size
        if self.connected and (not size or self._thrown_away > self.adj.max_request_body_size):
            self.handle_close()

    @property
    def ends_after_answer(self) -> bool:
        """Whether the connection is not kept: the server drains."""
        return self.loop.draining

    def next_request(self) -> Request | None:
        """The request that is to be answered next, if none is being answered."""
        if self.call is None and self.requests and not self.given_up and self.connected:
            request: Request = self.requests[0]
            return request
        return None

    @property
    def fd(self) -> int | None:
        """The socket's descriptor; None once it is closed."""
        number: int | None = self._fileno
        return number

    @property
    def idle(self) -> bool:
        """Nothing is being answered or sent; half a request may have come."""
        return self.call is None and not self.requests and not self.total_outbufs_len

    def reads_too_slowly(self, now: float, seconds: float, rate: float) -> bool:
        """Whether output has been pending for so long and hardly any of it was taken."""
        pending = self.total_outbufs_len
        taken = self.written - pending
        if pending and taken - self._taken < rate * seconds:
            return now - self._taken_at > seconds
        self._taken_at, self._taken = now, taken
        return False

    def cut(self, refusal: Refusal) -> None:
        """Answer a request that is not complete, and close."""
        partial, self.request = self.request, None
        if partial is not None:
            partial.error = refusal
            self.requests.append(partial)
            self.loop.wake(self)

    # -- answering, by whatever thread

    def serve(self, call: Call) -> None:
        """Answer a call and let the loop go on with the connection."""
        try:
            self.answer(call)
        finally:
            self.release(call)

    def answer(self, call: Call, refusal: Refusal | None = None) -> None:
        """Write the answer of the application, or a refusal in its place."""
        error = refusal or call.request.error
        self.request_error = call.request.error is not None
        try:
            task = OwnAnswer(self, call, error) if error else AppAnswer(self, call)
            if self.connected:
                task.service()
            call.close = task.close_on_finish
            call.status = task.status
        except ClientDisconnected:
            call.close = True
        except BaseException as raised:  # noqa: BLE001 - whatever a view raises costs its connection, not the server
            call.close = True
            self._answer_failure(call, raised)
        if not self.given_up:  # a late answer reached nobody
            self.server.log_access(call, by_loop=refusal is not None)

    def _answer_failure(self, call: Call, raised: BaseException) -> None:
        logger.error("%s failed", call.route.name, exc_info=raised)
        call.status = "500"
        if self.output_started:
            return
        try:
            OwnAnswer(self, call, failed(call, type(raised).__name__)).service()
        except (ClientDisconnected, OSError):
            logger.debug("the client of %s has gone", call.route.name)

    def release(self, call: Call, in_loop: bool = False) -> None:
        """The call is answered: close, or go on with the next request."""
        with self.requests_lock:
            if self.call is not call or self.given_up:
                call.request.close()
                return
            if call.close:
                self.close_when_flushed = True
                for request in self.requests:
                    request.close()
                self.requests = []
            else:
                self.requests.pop(0).close()
                self._start_next()
            self.output_started = False
            self.active_at = time.monotonic()
            self.call = None
        if not in_loop and (self.muted or self.requests or self.writable()):
            self.loop.wake(self)

    def _start_next(self) -> None:
        if self.current_outbuf_count > 0:  # the next answer gets a buffer of its own, as waitress has it
            self.current_outbuf_count = self.adj.outbuf_high_watermark
        partial = self.request
        if partial is None or self.requests:
            return
        partial.started = time.monotonic()  # its bytes were not asked for until now
        if partial.expect_continue and partial.headers_finished and not self.sent_continue:
            self.send_continue()

    def give_up(self, call: Call, refusal: Refusal) -> bool:
        """The call's time is over: tell the client, close, and drop what it may still write.

        Returns:
            False when a thread is just writing, and the loop has to try again.
        """
        with self.requests_lock:
            if self.call is not call or not self.connected:
                return True
            if not self.outbuf_lock.acquire(blocking=False):
                return False
            try:
                if self.output_started:
                    self.will_close = True
                else:
                    self._write_refusal(call, refusal)
                self.given_up = True
                self.close_when_flushed = True
                self.outbuf_lock.notify_all()
            finally:
                self.outbuf_lock.release()
        return True

    def _write_refusal(self, call: Call, refusal: Refusal) -> None:
        stand_in = copy.copy(call)
        stand_in.request = copy.copy(call.request)  # the call goes on with its own
        stand_in.bytes_sent = 0
        self.answer(stand_in, refusal)

    # -- output

    def write_soon(self, data: Any) -> int:
        """Send what the socket takes and keep the rest for the loop."""
        if not data:
            return 0
        with self.outbuf_lock:
            if not self.connected or self.given_up:
                raise ClientDisconnected
            self.output_started = True
            size = len(data)
            self.written += size
            if self.total_outbufs_len or isinstance(data, ReadOnlyFileBasedBuffer):
                self._keep(data, size)
                self._flush_exception(self._flush_some, do_close=False)
            else:
                self._send_or_keep(data, size)
            if self.total_outbufs_len or self.will_close:
                self.loop.wake(self)
                self._flush_outbufs_below_high_watermark()
            return size

    def _send_or_keep(self, data: bytes, size: int) -> None:
        """Nothing is pending: what the socket takes at once needs no buffer."""
        try:
            sent = self.send(data, do_close=False)
        except OSError:
            self.will_close = True
            return
        if sent < size:
            self._keep(data[sent:] if sent else data, size - sent)

    def _keep(self, data: Any, size: int) -> None:
        if isinstance(data, ReadOnlyFileBasedBuffer):
            self.outbufs.append(data)
            self._new_buffer()
        else:
            if self.current_outbuf_count >= self.adj.outbuf_high_watermark:
                self._new_buffer()
            try:
                self.outbufs[-1].append(data)
            except OSError:  # no room for the file where it would wait: part of it is kept, and nobody knows which
                self.will_close = True
                raise
            self.current_outbuf_count += size
        self.total_outbufs_len += size

    def _new_buffer(self) -> None:
        self.outbufs.append(OverflowableBuffer(self.adj.outbuf_overflow))
        self.current_outbuf_count = 0
