"""Which port or socket file a process of the engine serves on: index -> address."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass

from lmcache_admin.serving.sockets import SOCKET_PATH_LIMIT

MAX_PORT = 65535
SCHEDULER_OFFSET = 0


class AddressError(ValueError):
    """A setting leads to an address that cannot exist; names the key, its value and what is allowed."""

    def __init__(self, key: str, value: object, allowed: str) -> None:
        super().__init__(f"{key} = {value!r}: {allowed}")
        self.key = key
        self.value = value
        self.allowed = allowed


@dataclass(frozen=True)
class Address:
    """Where one process serves.

    Args:
        offset: 0 for the scheduler, 1 + worker id for a worker.
        port: the port number, also on a Unix socket, where it is part of the file's name.
        socket_path: the socket file; None on TCP.
        included: whether the include list lets this process serve.
    """

    offset: int
    port: int
    socket_path: str | None
    included: bool


def port_offset(*, has_engine: bool, role: str | None, worker_id: int | None) -> int:
    """Offset of a process.

    Args:
        has_engine: whether its manager has an engine.
        role: the metadata's role, "scheduler" or "worker"; None where there is no metadata.
        worker_id: the metadata's worker id; None counts as 0.
    """
    if not has_engine or role == "scheduler":
        return SCHEDULER_OFFSET
    return 1 + (worker_id or 0)


def address(port_start: int, offset: int, socket_path_prefix: str | None, include: Collection[int] | None) -> Address:
    """The address of a process.

    Args:
        port_start: `internal_api_server_port_start`.
        offset: from `port_offset`.
        socket_path_prefix: a Unix socket `<prefix>_<port>` takes the place of TCP when this is set.
        include: offsets that serve; None or empty: all.

    Raises:
        AddressError: port above 65535, or socket path above 107 bytes.
    """
    port = port_start + offset
    if port > MAX_PORT:
        allowed = f"port_start plus the process' offset {offset} must be at most {MAX_PORT}"
        raise AddressError("internal_api_server_port_start", port_start, allowed)
    path = f"{socket_path_prefix}_{port}" if socket_path_prefix else None
    if path is not None and len(os.fsencode(os.path.abspath(path))) > SOCKET_PATH_LIMIT:
        allowed = f"the socket's path {os.path.abspath(path)!r} must have at most {SOCKET_PATH_LIMIT} bytes"
        raise AddressError("internal_api_server_socket_path_prefix", socket_path_prefix, allowed)
    return Address(offset, port, path, not include or offset in include)
