"""waitress' classes as this room extends them, with the types that they have at run time.

The published stubs differ from the code (bytes for text, read-only sequences, no private names), so a
type checker reads the declarations below instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from waitress.buffers import OverflowableBuffer, ReadOnlyFileBasedBuffer
from waitress.channel import ClientDisconnected
from waitress.parser import ParsingError

__all__ = [
    "ClientDisconnected",
    "ErrorTask",
    "HTTPChannel",
    "HTTPRequestParser",
    "OverflowableBuffer",
    "ParsingError",
    "ReadOnlyFileBasedBuffer",
    "WSGITask",
]

if TYPE_CHECKING:
    import logging
    import threading
    from collections.abc import Callable
    from socket import socket as Socket

    from waitress.adjustments import Adjustments
    from waitress.utilities import Error

    class HTTPRequestParser:
        """Declared as waitress.parser has it."""

        completed: bool
        expect_continue: bool
        headers_finished: bool
        header_bytes_received: int
        content_length: int
        body_bytes_received: int
        chunked: bool
        body_rcv: Any
        version: str
        error: Error | None
        headers: dict[str, str]
        adj: Adjustments
        command: str
        path: str
        proxy_netloc: str

        def __init__(self, adj: Adjustments) -> None: ...
        def received(self, data: bytes) -> int: ...
        def parse_header(self, header_plus: bytes) -> None: ...
        def close(self) -> None: ...

    class Task:
        """Declared as waitress.task has it."""

        channel: Any
        request: Any
        response_headers: list[tuple[str, str]]
        close_on_finish: bool
        status: str
        version: str
        start_time: float
        wrote_header: bool
        complete: bool
        content_length: int | None
        content_bytes_written: int
        chunked_response: bool
        has_body: bool
        logger: logging.Logger

        def __init__(self, channel: Any, request: Any) -> None: ...
        def start(self) -> None: ...
        def execute(self) -> None: ...
        def finish(self) -> None: ...
        def write(self, data: bytes) -> None: ...

    class ErrorTask(Task):
        """Declared as waitress.task has it."""

    class WSGITask(Task):
        """Declared as waitress.task has it."""

        def get_environment(self) -> dict[str, Any]: ...

    class HTTPChannel:
        """Declared as waitress.channel has it."""

        server: Any
        adj: Adjustments
        socket: Socket | None
        connected: bool
        will_close: bool
        close_when_flushed: bool
        sent_continue: bool
        total_outbufs_len: int
        current_outbuf_count: int
        outbufs: list[Any]
        outbuf_lock: threading.Condition
        requests_lock: threading.Lock
        requests: list[Any]
        request: Any
        _fileno: int | None

        def __init__(self, server: Any, sock: Socket, addr: Any, adj: Adjustments, map: Any) -> None: ...
        def add_channel(self, map: Any = None) -> None: ...
        def del_channel(self, map: Any = None) -> None: ...
        def readable(self) -> bool: ...
        def writable(self) -> bool: ...
        def handle_read(self) -> None: ...
        def handle_read_event(self) -> None: ...
        def handle_write(self) -> None: ...
        def handle_close(self) -> None: ...
        def handle_error(self) -> None: ...
        def send_continue(self) -> None: ...
        def recv(self, buffer_size: int) -> bytes: ...
        def send(self, data: bytes, do_close: bool = True) -> int: ...
        def _flush_some(self, do_close: bool = True) -> bool: ...
        def _flush_exception(self, flush: Callable[..., bool], do_close: bool = True) -> Any: ...
        def _flush_outbufs_below_high_watermark(self) -> None: ...

else:
    from waitress.channel import HTTPChannel
    from waitress.parser import HTTPRequestParser
    from waitress.task import ErrorTask, WSGITask
