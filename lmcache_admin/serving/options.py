"""What a server is started with; the defaults are the limits that the service promises."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from waitress.adjustments import Adjustments

from lmcache_admin.deaths import Deaths

#: Asked with method, path, headers (as WSGI names them, without HTTP_) and connection of a request whose body is
#: large: None lets it come, anything else refuses it and is run by another thread, to record that.
CheckBody = Callable[[str, str, Mapping[str, str], socket.socket], Callable[[], None] | None]

UNCHECKED_BODY = 65536  # bytes of a body that are read of whoever sends them
DESCRIPTORS_LEFT_TO_HOST = 256
FEWEST_CONNECTIONS = 16


@dataclass(frozen=True)
class ServerOptions:
    """Address and limits of one server.

    Args:
        host, port: TCP address; port 0 lets the system choose. Unused with a socket path.
        socket_path: Unix socket instead of TCP, at most 107 bytes.
        socket_mode: file mode of the Unix socket.
        lane_threads, lane_queues, deadlines: per lane; what is left out has its default. Seconds.
        connection_limit: open connections; the longest idle one makes room for a new one.
        max_header_bytes, max_body_bytes: larger ones are refused with 431, 413.
        header_seconds, body_seconds: from the first byte of a request until it must be complete.
        idle_seconds: how long a connection may say nothing.
        linger_seconds: how long the rest of a refused request is read and thrown away, so that its
            sender gets to see why.
        slow_reader_seconds, slow_reader_rate: a client that takes fewer bytes a second for so long is cut.
        backlog: connections that the kernel keeps waiting.
        headers: what the answers of the server itself (refusals, protocol errors) have besides their own.
        access_log: one INFO line per request on the logger `lmcache_admin.access`.
        check_body: asked once, on the thread of the loop, before more than `UNCHECKED_BODY` bytes of a body
            are read.
        look_after: called about once a second, on the spare thread, for what else has to be alive.
        deaths: where threads that have died are noted.
    """

    host: str = "127.0.0.1"
    port: int = 0
    socket_path: str | None = None
    socket_mode: int = 0o600
    lane_threads: Mapping[str, int] = field(default_factory=dict)
    lane_queues: Mapping[str, int] = field(default_factory=dict)
    deadlines: Mapping[str, float] = field(default_factory=dict)
    connection_limit: int = 2000
    max_header_bytes: int = 65536
    max_body_bytes: int = 1048576
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    idle_seconds: float = 120.0
    linger_seconds: float = 2.0
    slow_reader_seconds: float = 30.0
    slow_reader_rate: float = 1024.0
    backlog: int = 1024
    access_log: bool = True
    headers: tuple[tuple[str, str], ...] = ()
    check_body: CheckBody | None = None
    look_after: Callable[[], None] | None = None
    deaths: Deaths = field(default_factory=lambda: Deaths())

    def adjustments(self) -> Adjustments:
        """The part of it that waitress' parser and channels read."""
        return Adjustments(
            ident=None,
            asyncore_use_poll=True,
            max_request_header_size=self.max_header_bytes,
            max_request_body_size=self.max_body_bytes + 1,  # waitress refuses from this size on
            outbuf_high_watermark=256 * 1048576,  # above any answer: larger ones than 1 MiB wait in a file
            log_socket_errors=False,
            clear_untrusted_proxy_headers=False,
        )


def connections_allowed(wanted: int) -> int:
    """As many connections as wanted, or as the process' descriptors allow when some stay for the host."""
    with contextlib.suppress(OSError, ValueError):
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY:
            return min(wanted, max(FEWEST_CONNECTIONS, soft - DESCRIPTORS_LEFT_TO_HOST))
    return wanted
