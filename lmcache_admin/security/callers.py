"""Who is calling: the user on the other end of a loopback connection or a Unix socket, and the role that gives."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any, NamedTuple

from lmcache_admin.declaration import ROLES
from lmcache_admin.security.sock_diag import tcp_owner

_PEERCRED = struct.Struct("3i")
#: Where there is no such table, as on macOS, the kernel tells nobody's user.
_TABLE = Path("/proc/net/tcp")


class Peer(NamedTuple):
    """The process at the other end of a Unix socket, as the kernel knows it."""

    pid: int
    uid: int
    gid: int


@dataclass(frozen=True)
class Caller:
    """Whoever sent a request.

    Args:
        actor: How the audit names them.
        role: What they may do, or "" for nothing.
        address: IP address, or `unix`.
        uid: User id, where the kernel tells.
    """

    actor: str
    role: str
    address: str
    uid: int | None

    def may(self, role: str) -> bool:
        """Tell whether this caller's role is `role` or above it."""
        return bool(self.role) and ROLES.index(self.role) >= ROLES.index(role)


def over_unix_socket(environ: Mapping[str, Any]) -> bool:
    """Tell whether a request came over a Unix socket."""
    sock = _socket(environ)
    if sock is not None:
        return bool(sock.family == socket.AF_UNIX)
    return not _address(environ)


def local_caller(environ: Mapping[str, Any], any_user: bool) -> Caller:
    """Identify a native client in mode `local`.

    Args:
        environ: WSGI environment.
        any_user: Whether every local user may change things (`internal_api_server_local_users: any`).
    """
    unix = over_unix_socket(environ)
    peer = socket_peer(environ) if unix else None
    uid = peer.uid if peer else (None if unix else tcp_uid(environ))
    ours = uid in (os.getuid(), 0) if uid is not None else not _TABLE.exists()
    role = ("admin" if unix else "operator") if ours else ("operator" if any_user else "viewer")
    return Caller(f"uid {uid}" if uid is not None else "local client", role, _address(environ) or "unix", uid)


def socket_peer(environ: Mapping[str, Any]) -> Peer | None:
    """Return the process that opened a Unix socket connection (SO_PEERCRED); None where unknown."""
    sock = _socket(environ)
    if sock is None or sock.family != socket.AF_UNIX or not hasattr(socket, "SO_PEERCRED"):
        return None
    try:
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEERCRED.size)
    except OSError:  # the client has gone, and the connection is closed
        return None
    return Peer(*_PEERCRED.unpack(credentials))


def tcp_uid(environ: Mapping[str, Any]) -> int | None:
    """Return the user id that owns the client's end of a loopback TCP connection; None where the kernel does not tell.

    A client that has closed its end owns it no longer: the kernel lists such a socket with user 0 and inode 0, and
    believing that would make root of everybody who does not wait for the answer.

    Source of the table: the kernel's `/proc/net/tcp` and `tcp6`, hexadecimal addresses in host byte order.
    """
    address, port = _address(environ), environ.get("REMOTE_PORT")
    if not address or not port:
        return None
    sock = _socket(environ)
    if sock is not None:
        with suppress(OSError):  # the kernel does not tell it so: its table does, which takes milliseconds to read
            return tcp_owner((address, int(port)), sock.getsockname()[:2])
    return _listed_uid(environ, address, int(port))


def _listed_uid(environ: Mapping[str, Any], address: str, port: int) -> int | None:
    """As `tcp_uid`, from the kernel's table of all sockets."""
    ours = _own_end(environ)
    for table, local in _kernel_names(address, port):
        try:
            lines = Path(table).read_text("ascii").splitlines()
        except OSError:
            continue
        for line in lines:
            cells = line.split()
            if len(cells) > 9 and cells[1] == local and cells[2].endswith(ours):
                return int(cells[7]) if cells[9] != "0" else None
    return None


def _own_end(environ: Mapping[str, Any]) -> str:
    """How the kernel's tables end the name of our end: two clients may share a port if their servers' addresses differ.

    Without the socket itself it is the port alone.
    """
    sock, port = _socket(environ), f":{int(environ['SERVER_PORT']):04X}"
    try:
        host, number = sock.getsockname()[:2] if sock is not None else ("", 0)
    except OSError:  # closed by the client
        return port
    if not number:
        return port
    ip = ip_address(host.partition("%")[0])
    plain = getattr(ip, "ipv4_mapped", None) or ip
    return _kernel_names(str(plain), number)[0][1]


def _socket(environ: Mapping[str, Any]) -> Any:
    """The connection's socket, where the server tells."""
    return environ.get("lmcache_admin.socket") or environ.get("gunicorn.socket")


def _kernel_names(address: str, port: int) -> list[tuple[str, str]]:
    """(table, name of that end in it); in `tcp6` an IPv4 address ends as it does in `tcp`."""
    ip = ip_address(address)
    if isinstance(ip, IPv4Address):
        word = f"{int.from_bytes(ip.packed, 'little'):08X}"
        mapped = f"0000000000000000FFFF0000{word}"
        return [("/proc/net/tcp", f"{word}:{port:04X}"), ("/proc/net/tcp6", f"{mapped}:{port:04X}")]
    packed = ip.packed
    words = "".join(f"{int.from_bytes(packed[i : i + 4], 'little'):08X}" for i in range(0, 16, 4))
    return [("/proc/net/tcp6", f"{words}:{port:04X}")]


def _address(environ: Mapping[str, Any]) -> str:
    """The client's IP address, or "" over a Unix socket."""
    address = environ.get("REMOTE_ADDR") or ""
    try:
        ip_address(address)
    except ValueError:
        return ""
    return str(address)
