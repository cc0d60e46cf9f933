"""Where a worker's lookup socket is, and who may be at its other end."""

from __future__ import annotations

import os
import re
import socket
import struct
import tempfile
from hashlib import blake2b
from typing import Any

from lmcache_admin.engine.errors import ConfigurationError

FOLDER = "embedded_engine_lookup_folder"
NAME = re.compile(r"lookup-[0-9a-f]{16}-\d+(\.new)?")

_CREDENTIALS = struct.Struct("3i")  # process, user, group


def lookup_folder(extra_config: dict[str, Any] | None) -> str:
    """The folder of the sockets: the one that is set, else one of this user's own under the system's temporary folder.

    Raises:
        ConfigurationError: What is set is no path.
    """
    folder = (extra_config or {}).get(FOLDER)
    if folder is None:
        return os.path.join(tempfile.gettempdir(), f"lmcache-admin-{os.geteuid()}")
    if not isinstance(folder, str) or not folder or "\0" in folder:
        raise ConfigurationError(f"extra_config.{FOLDER}", folder, "the path of a folder")
    return os.path.abspath(os.path.expanduser(folder))


def socket_path(folder: str, engine_id: str, worker_id: int) -> str:
    """Path of one worker's socket; short, whatever the engine is called."""
    name = blake2b(engine_id.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return os.path.join(folder, f"lookup-{name}-{worker_id}")


def peer_is_trusted(sock: socket.socket) -> bool:
    """Whether our own user or root is at the other end; True where the system does not tell."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return True
    _, user, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
    return user in (os.geteuid(), 0)
