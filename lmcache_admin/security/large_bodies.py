"""Large bodies are read only of whoever has shown good credentials, where credentials are asked for (S42)."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from lmcache_admin.declaration import ROLES
from lmcache_admin.security.audit import Audit
from lmcache_admin.security.authentication import Authentication


class LargeBodies:
    """Decides by the head of a request, before its body is read.

    Args:
        authentication: Finds the caller.
        audit: Where a refusal is recorded.
    """

    def __init__(self, authentication: Authentication, audit: Audit) -> None:
        self._authentication = authentication
        self._audit = audit

    def check(
        self, method: str, path: str, headers: Mapping[str, str], connection: socket.socket
    ) -> Callable[[], None] | None:
        """Return None for a caller with a role, else what records the refusal.

        Args:
            method, path: Of the request.
            headers: Named as in a WSGI environment, without `HTTP_`.
            connection: Whose other end sends it.
        """
        environ: dict[str, Any] = {f"HTTP_{name}": value for name, value in headers.items()}
        environ |= {"REMOTE_ADDR": _address(connection), "lmcache_admin.socket": connection}
        caller = self._authentication.caller(environ, ROLES[-1])
        if caller.role:
            return None
        facts = {"actor": caller.actor, "role": "", "address": caller.address, "uid": caller.uid}
        asked = {"method": method, "route": path, "operation": "", "arguments": {}}
        return partial(self._audit.refuse, 401, **facts, **asked)


def _address(connection: socket.socket) -> str:
    """The other end's IP address; that of a Unix socket, or of a client that has gone, has none."""
    if connection.family == socket.AF_UNIX:
        return "localhost"
    try:
        return str(connection.getpeername()[0])
    except OSError:
        return ""
