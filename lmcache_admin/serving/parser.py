"""Requests as waitress parses them, minus those that two servers could read in two ways."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from waitress.utilities import Error, RequestHeaderFieldsTooLarge

from lmcache_admin.serving.options import UNCHECKED_BODY
from lmcache_admin.serving.stack import HTTPRequestParser, ParsingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from waitress.adjustments import Adjustments

MAX_HEADER_LINES = 200
_HOST = re.compile(r"[A-Za-z0-9._~%!$&'()*+;=:\[\]-]+")
_TRANSFER_ENCODING = re.compile(rb"\r\ntransfer-encoding:[ \t]*([^\r\n]*)", re.IGNORECASE)


class MethodNotAllowed(Error):
    """TRACE and CONNECT: never forwarded to the application."""

    code = 405
    reason = "Method Not Allowed"


class Request(HTTPRequestParser):
    """One request; `error` is set when it must not be served.

    `started` is the monotonic time of its first byte, `arrived` that of its last.

    Args:
        adj: waitress' settings.
        refuse_body: asked once, before more than `UNCHECKED_BODY` bytes of the body are read, why not to.
    """

    command = ""  # until the first line is there
    path = ""

    def __init__(self, adj: Adjustments, refuse_body: Callable[[Request], Error | None] | None = None) -> None:
        super().__init__(adj)
        self.started = self.arrived = time.monotonic()
        self._refuse_body = refuse_body

    def received(self, data: bytes) -> int:
        """Take bytes of this request; returns how many were its own."""
        consumed = super().received(data)
        if self._refuse_body is not None and self.headers_finished and self.error is None:
            self._check_body(self._refuse_body)
        if self.completed:
            self.arrived = time.monotonic()
            if self.error is not None or self.body_rcv is None:
                self.expect_continue = False  # there is no body to ask for
        return consumed

    def _check_body(self, refuse: Callable[[Request], Error | None]) -> None:
        if max(self.content_length, self.body_bytes_received) > UNCHECKED_BODY:
            self._refuse_body = None
            self.error = refuse(self)
            if self.error is not None:
                self.completed = True

    def parse_header(self, header_plus: bytes) -> None:
        """Parse the header block; ParsingError or `error` for what is refused."""
        if header_plus.count(b"\r\n") > MAX_HEADER_LINES + 2:  # first line and blank line
            self.error = RequestHeaderFieldsTooLarge(f"more than {MAX_HEADER_LINES} header lines")
            return
        if b"\r\n " in header_plus or b"\r\n\t" in header_plus:
            raise ParsingError("header lines must not be folded")
        super().parse_header(header_plus)
        if self.error is None and self.header_bytes_received < self.adj.max_request_header_size:
            self._refuse_ambiguous(header_plus)

    def _refuse_ambiguous(self, header_plus: bytes) -> None:
        if self.version not in ("1.0", "1.1"):
            raise ParsingError("only HTTP/1.0 and HTTP/1.1 are served")
        if self.chunked:
            codings = _TRANSFER_ENCODING.findall(header_plus)
            if len(codings) != 1 or codings[0].strip(b" \t").lower() != b"chunked":
                raise ParsingError("Transfer-Encoding must be chunked, once")
            if "CONTENT_LENGTH" in self.headers:
                raise ParsingError("Content-Length and Transfer-Encoding exclude each other")
        elif "TRANSFER_ENCODING" in self.headers:
            raise ParsingError("HTTP/1.0 has no Transfer-Encoding")
        self._check_host()
        if self.command in ("TRACE", "CONNECT"):
            self.error = MethodNotAllowed(f"{self.command} is not served")

    def _check_host(self) -> None:
        host = self.headers.get("HOST")
        if host is None:
            if self.version == "1.1":
                raise ParsingError("a request needs one Host header")
        elif not _HOST.fullmatch(host):
            raise ParsingError("a request needs one Host header: a name or an address, with or without port")
        if self.proxy_netloc and self.proxy_netloc.lower() != (host or "").lower():
            raise ParsingError("the address in the request line is not that of the Host header")
