"""Listening TCP sockets."""

from __future__ import annotations

import socket

from lmcache_admin.socket_files import StartError, reason


def listen_tcp(host: str, port: int, backlog: int) -> socket.socket:
    """A listening TCP socket; port 0 lets the system choose one."""
    where = f"{host}:{port}"
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise StartError(f"cannot listen on {where}: {reason(error)}") from error
    family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    try:
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise StartError(f"cannot listen on {where}: {reason(error)}") from error
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(backlog)
    except (OSError, OverflowError) as error:
        sock.close()
        raise StartError(f"cannot listen on {where}: {reason(error)}") from error
    return sock
