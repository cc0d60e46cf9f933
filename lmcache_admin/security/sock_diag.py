"""Who owns the other end of a TCP connection on this machine, asked of the kernel by its exact name."""

from __future__ import annotations

import os
import socket
import struct
from ipaddress import IPv6Address, ip_address

# Source: Linux' include/uapi/linux/{netlink,sock_diag,inet_diag}.h
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_NLMSG_ERROR = 2
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBBI")
_NAME = struct.Struct("=2s2s16s16sIII")
_ANY_COOKIE = 0xFFFFFFFF
_OWNER = struct.Struct("=II")  # uid, inode
_OWNER_AT = _HEADER.size + 4 + _NAME.size + 12  # behind family, state, timer, retrans; name; expires and two queues


class NotToldError(OSError):
    """The kernel offers no such question here: another system, or a container that forbids it."""


def tcp_owner(client: tuple[str, int], server: tuple[str, int]) -> int | None:
    """Return the user id that owns the socket whose own end is `client` and whose other end is `server`.

    A socket that its process has closed belongs to nobody: the kernel lists it with user 0 and inode 0, and believing
    that would make root of everybody who does not wait for the answer.

    Raises:
        NotToldError: It has to be found in another way.
    """
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as kernel:
            kernel.settimeout(1.0)
            kernel.send(_question(client, server))
            answer = kernel.recv(4096)
    except (OSError, AttributeError) as error:
        raise NotToldError(str(error)) from None
    return _owner(answer)


def _question(client: tuple[str, int], server: tuple[str, int]) -> bytes:
    source, target = _plain(client[0]), _plain(server[0])
    family = socket.AF_INET6 if len(source) == 16 else socket.AF_INET
    ports = client[1].to_bytes(2, "big"), server[1].to_bytes(2, "big")
    name = _NAME.pack(*ports, source, target, 0, _ANY_COOKIE, _ANY_COOKIE)
    body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF) + name
    return _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + body


def _plain(address: str) -> bytes:
    """An address in network order; one of IPv4 that is written as IPv6 is one of IPv4."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        ip = ip.ipv4_mapped or ip
    return ip.packed


def _owner(answer: bytes) -> int | None:
    _, kind, _, _, _ = _HEADER.unpack_from(answer)
    if kind == _NLMSG_ERROR:
        code = -struct.unpack_from("=i", answer, _HEADER.size)[0]
        if code == 2:  # ENOENT: there is no such socket any more
            return None
        raise NotToldError(code, os.strerror(code))
    if kind != _SOCK_DIAG_BY_FAMILY or len(answer) < _OWNER_AT + _OWNER.size:
        raise NotToldError("an answer of another kind")
    uid, inode = _OWNER.unpack_from(answer, _OWNER_AT)
    return int(uid) if inode else None
