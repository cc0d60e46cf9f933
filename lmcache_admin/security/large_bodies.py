"""Large bodies are read only of whoever has shown good credentials, where credentials are asked for (S42)."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from lmcache_admin.declaration import ROLES
from lmcache_admin.security.audit import Audit
from lmcache_admin.security.audited import LONGEST_PATH
from lmcache_admin.security.authentication import Authentication
from lmcache_admin.security.redaction import Redactor


class LargeBodies:
    """Decides by the head of a request, before its body is read.

    Args:
        authentication: Finds the caller.
        audit: Where a refusal is recorded.
        redactor: Masks secrets in it.
    """

    def __init__(self, authentication: Authentication, audit: Audit, redactor: Redactor) -> None:
        self._authentication = authentication
        self._audit = audit
        self._redactor = redactor

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
        self._authentication.proxies.read(environ)
        caller = self._authentication.caller(environ, ROLES[-1])
        if caller.role:
            return None
        facts = {"actor": caller.actor, "role": "", "address": caller.address, "uid": caller.uid}
        asked = {"method": method, "route": path[:LONGEST_PATH], "operation": "", "arguments": {}}
        return partial(self._record, self._redactor.mask({**facts, **asked}))

    def _record(self, facts: Mapping[str, Any]) -> None:
        self._audit.refuse(401, **facts)


def _address(connection: socket.socket) -> str:
    """The other end's IP address; that of a Unix socket, or of a client that has gone, has none."""
    if connection.family == socket.AF_UNIX:
        return "localhost"
    try:
        return str(connection.getpeername()[0])
    except OSError:
        return ""
