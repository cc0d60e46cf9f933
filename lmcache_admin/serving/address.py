"""Which port or socket file a process of the engine serves on: index -> address."""

from __future__ import annotations

import operator
import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import SupportsIndex

from lmcache_admin.settings_error import shown
from lmcache_admin.socket_files import SOCKET_PATH_LIMIT

MAX_PORT = 65535
SCHEDULER_OFFSET = 0


class AddressError(ValueError):
    """A setting, or a fact of the host, leads to an address that cannot exist; one line as a SettingsError has it."""

    def __init__(self, key: str, value: object, allowed: str) -> None:
        super().__init__(f"{key}: {shown(value)} is not allowed; allowed: {allowed}")
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


def port_offset(*, has_engine: bool, role: str | None, worker_id: object) -> int:
    """Offset of a process.

    Args:
        has_engine: whether its manager has an engine.
        role: the metadata's role, "scheduler" or "worker"; None where there is no metadata.
        worker_id: the metadata's worker id, whatever the host put there; None counts as 0.

    Raises:
        AddressError: A worker id that is no whole number from 0.
    """
    if not has_engine or role == "scheduler":
        return SCHEDULER_OFFSET
    if worker_id is None:
        return 1
    number = operator.index(worker_id) if isinstance(worker_id, SupportsIndex) else -1
    if number < 0 or isinstance(worker_id, bool):
        raise AddressError("metadata.worker_id", worker_id, "a whole number from 0")
    return 1 + number


def port_at(key: str, start: int, offset: int) -> int:
    """The port of a process, counted from the setting `key`.

    Raises:
        AddressError: It is above 65535.
    """
    if start + offset > MAX_PORT:
        allowed = f"an integer from 1 to {MAX_PORT - offset} (this process listens on it plus {offset})"
        raise AddressError(key, start, allowed)
    return start + offset


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
    port = port_at("internal_api_server_port_start", port_start, offset)
    path = f"{socket_path_prefix}_{port}" if socket_path_prefix else None
    if path is not None and len(os.fsencode(os.path.abspath(path))) > SOCKET_PATH_LIMIT:
        allowed = f"a path whose socket, {os.path.abspath(path)!r}, has at most {SOCKET_PATH_LIMIT} bytes"
        raise AddressError("internal_api_server_socket_path_prefix", socket_path_prefix, allowed)
    return Address(offset, port, path, not include or offset in include)
