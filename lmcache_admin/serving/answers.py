"""Answers as waitress' tasks: the application's, and those that the server gives itself, as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from waitress.utilities import Error

from lmcache_admin.serving.heads import response_head
from lmcache_admin.serving.options import UNCHECKED_BODY
from lmcache_admin.serving.stack import ErrorTask, WSGITask

if TYPE_CHECKING:
    from lmcache_admin.serving.call import Call
    from lmcache_admin.serving.channel import Channel

JOIN_LIMIT = 65536  # bytes: header and a first part up to this size leave in one send
SOFTWARE = "lmcache-admin"


class Refusal(Error):
    """An answer that the server gives by itself.

    Args:
        code: HTTP status.
        reason: its phrase.
        error: what went wrong, in a few words.
        message: with which value, and what is allowed.
        close: whether the connection ends with this answer.
        retry_after: seconds for the header of that name; 0 leaves it out.
        headers: further ones.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        error: str,
        message: str,
        *,
        close: bool = False,
        retry_after: int = 0,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.error = error
        self.close = close
        self.headers = headers + ((("Retry-After", str(retry_after)),) if retry_after else ())


def overloaded(call: Call, reason: str, retry_after: int) -> Refusal:
    """503: the request was not begun."""
    error = f"Not served: {call.route.operation}"
    return Refusal(503, "Service Unavailable", error, reason, retry_after=retry_after)


def timed_out(call: Call, seconds: float) -> Refusal:
    """504: the request was begun and goes on without its caller."""
    message = f"{call.route.name} has not answered within {seconds:g} s (lane {call.route.lane}); it goes on"
    return Refusal(504, "Gateway Timeout", f"Timed out: {call.route.operation}", message, close=True)


def stopped(call: Call) -> Refusal:
    """503: the request was begun, and the server ends before it has an answer."""
    message = f"the server is stopping; {call.route.name} had begun, and whether it ended is not known"
    return Refusal(503, "Service Unavailable", f"Stopped during: {call.route.operation}", message, close=True)


def failed(call: Call, cause: str) -> Refusal:
    """500: the view ended without an answer."""
    message = f"{call.route.name} ended with {cause}"
    return Refusal(500, "Internal Server Error", f"Failed to {call.route.operation}", message, close=True)


def unknown_sender() -> Refusal:
    """401: a large body is read only of whoever has shown good credentials."""
    message = f"A body of more than {UNCHECKED_BODY // 1024} KiB needs credentials; it was not read."
    challenge = (("WWW-Authenticate", "Bearer"),)
    return Refusal(401, "Unauthorized", "Unauthorized", message, close=True, headers=challenge)


class _Parts:
    """What both kinds of answer share: header and body leave together, HEAD gets no body."""

    def write(self: Any, data: bytes) -> None:
        if not self.complete:
            raise RuntimeError("start_response was not called before body written")
        if self.wrote_header:
            part = self._framed(data)
            if part:
                self.channel.write_soon(part)
        else:
            if self.channel.ends_after_answer:
                self.close_on_finish = True
            head = response_head(self)
            part = self._framed(data)
            self.wrote_header = True
            if len(part) <= JOIN_LIMIT:
                self.channel.write_soon(head + part)
            else:
                self.channel.write_soon(head)
                self.channel.write_soon(part)
        self.call.bytes_sent += len(data)

    def set_close_on_finish(self: Any) -> None:
        self.close_on_finish = True  # the head says so

    def _framed(self: Any, data: bytes) -> bytes:
        if not data or self.request.command == "HEAD" or not self.has_body:
            return b""
        if self.chunked_response:
            return b"%X\r\n%b\r\n" % (len(data), data)
        length = self.content_length
        if length is None:
            return data
        part = data[: length - self.content_bytes_written]
        self.content_bytes_written += len(part)
        if len(part) != len(data):
            self.logger.warning("%s sent more than its Content-Length", self.call.route.name)
        return part

    def finish(self: Any) -> None:
        if not self.wrote_header:
            self.write(b"")
        if self.chunked_response and self.request.command != "HEAD":
            self.channel.write_soon(b"0\r\n\r\n")


class AppAnswer(_Parts, WSGITask):
    """What the application answers."""

    def __init__(self, channel: Channel, call: Call) -> None:
        super().__init__(channel, call.request)
        self.call = call

    def service(self) -> None:
        """Run the application and write its answer; whatever it raises goes to the channel."""
        self.start()
        self.execute()
        self.finish()

    def get_environment(self) -> dict[str, Any]:
        """waitress' environment and the facts that only the server has."""
        environ = super().get_environment()
        environ["PATH_INFO"] = self.request.path  # waitress takes the first slashes of //conf for one
        environ["SERVER_SOFTWARE"] = SOFTWARE
        environ["lmcache_admin.arrived"] = self.call.arrived
        environ["lmcache_admin.route"] = self.call.route
        environ["lmcache_admin.socket"] = self.channel.socket
        return environ


class OwnAnswer(_Parts, ErrorTask):
    """A refusal, or an error of the protocol, as `{"error", "message"}`."""

    def __init__(self, channel: Channel, call: Call, error: Error) -> None:
        super().__init__(channel, call.request)
        self.call = call
        self.answer = error

    def service(self) -> None:
        """Write the answer."""
        self.start()
        self.execute()
        self.finish()

    def execute(self) -> None:
        """Build status, headers and body."""
        error = self.answer
        own = error if isinstance(error, Refusal) else None
        content = {"error": own.error if own else error.reason, "message": error.body}
        body = json.dumps(content).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers += [("Content-Type", "application/json"), *self.channel.server.own_headers]
        if own:
            self.response_headers += own.headers
        if error.code == 405:
            self.response_headers.append(("Allow", "GET, HEAD, POST, PUT, DELETE, OPTIONS"))
        if own is None or own.close:
            self.close_on_finish = True
        self.content_length = len(body)
        self.write(body)
