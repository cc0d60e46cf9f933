"""The order of checks that every request passes, and the audit line on the way out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flask import Response, g, request

from lmcache_admin.declaration import ROLES, Declaration
from lmcache_admin.errors import Failure, Forbidden, declaration_of_request
from lmcache_admin.metrics_listener import OPEN
from lmcache_admin.security.callers import Caller, local_caller, over_unix_socket
from lmcache_admin.security.origins import host_is_ours, is_browser_borne, is_proxied, refusal_of_page

if TYPE_CHECKING:
    from flask import Flask

    from lmcache_admin.metrics import RequestCounts
    from lmcache_admin.security.audit import Audit, Entry
    from lmcache_admin.security.redaction import Redactor
    from lmcache_admin.settings import Settings

#: Paths that answer whatever name they are called by: probes come from anywhere.
_ANY_HOST = frozenset(("/healthz", "/readyz"))
_HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
)
_HEADER_NAMES = frozenset(name.lower() for name, _ in _HEADERS)


def secured(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return an answer's headers and those that every answer has; its own win."""
    own = {name.lower() for name, _ in headers}
    if own.isdisjoint(_HEADER_NAMES):
        return [*headers, *_HEADERS]
    return headers + [(name, value) for name, value in _HEADERS if name.lower() not in own]


class Gate:
    """Admits requests in this order: name, origin, identity, role, read-only; and records changes and refusals.

    Args:
        settings: The policy.
        audit: Where changes and refusals are recorded.
        redactor: What masks their arguments.
        requests: Where every answer is counted.
    """

    def __init__(self, settings: Settings, audit: Audit, redactor: Redactor, requests: RequestCounts) -> None:
        self._settings = settings
        self._audit = audit
        self._redactor = redactor
        self._requests = requests
        self._names = frozenset(name.lower() for name in settings.allowed_hosts)

    def guard(self, app: Flask) -> None:
        """Put the gate before every route of `app`."""
        app.before_request(self.admit)
        app.after_request(self.leave)

    def admit(self) -> None:
        """Let the request through, or raise.

        Raises:
            Forbidden: A check failed; `message` says which.
            Failure: 404, the feature is switched off.
        """
        g.started = time.monotonic()
        declaration = declaration_of_request()
        changes = self._changes(declaration)
        if request.url_rule is not None and declaration.switch and not getattr(self._settings, declaration.switch):
            raise Failure(404, declaration.switched_off)
        refusal = self._refusal_of_sender(changes)
        role = _least_role(declaration, changes)
        caller = self._caller(role)
        refusal = refusal or self._refusal_of_caller(caller, role, changes)
        if refusal:
            self._conclude_refused(declaration, caller)
            raise Forbidden(refusal)
        if changes and request.url_rule is not None:
            g.audit_entry = self._record(declaration, caller)

    def leave(self, response: Response) -> Response:
        """Count the answer and record the outcome of a change."""
        seconds = time.monotonic() - g.started
        rule = request.url_rule
        self._requests.add(request.method, rule.rule if rule else "unmatched", response.status_code, seconds)
        entry: Entry | None = g.pop("audit_entry", None)
        if entry is not None:
            outcome = "done" if response.status_code < 400 else "failed"
            self._audit.conclude(entry, outcome, response.status_code, round(seconds * 1000, 3))
        return response

    def _changes(self, declaration: Declaration) -> bool:
        if request.url_rule is None:
            return request.method not in ("GET", "HEAD", "OPTIONS")
        if request.method != "GET":
            return True
        return any(request.args.getlist(name)[-1:] not in ([], [""]) for name in declaration.changes_if)

    def _refusal_of_sender(self, changes: bool) -> str | None:
        environ, settings = request.environ, self._settings
        if OPEN in environ:
            return None
        browser = is_browser_borne(environ)
        if request.path not in _ANY_HOST and (browser or not over_unix_socket(environ)):
            host = environ.get("HTTP_HOST")
            if host is not None and not host_is_ours(host, self._names, settings.auth == "local"):
                return f"The name {host!r} is not this server's; names are listed in internal_api_server_allowed_hosts."
        if settings.auth == "local" and is_proxied(environ):
            return "A proxy needs internal_api_server_auth: proxy or token."
        return refusal_of_page(environ, changes, settings.allowed_origins) if browser else None

    def _caller(self, role: str) -> Caller:
        if self._settings.auth == "off":
            return Caller("anybody", ROLES[-1], request.remote_addr or "unix", None)
        if role == "viewer":
            return Caller("local client", "viewer", request.remote_addr or "unix", None)
        return local_caller(request.environ, self._settings.local_users == "any")

    def _refusal_of_caller(self, caller: Caller, role: str, changes: bool) -> str | None:
        if not caller.may(role):
            return f"This needs the role {role}; {caller.actor} has the role {caller.role or 'none'}."
        if changes and self._settings.read_only and request.url_rule is not None:
            return "internal_api_server_read_only is set: nothing can be changed."
        return None

    def _conclude_refused(self, declaration: Declaration, caller: Caller) -> None:
        self._audit.conclude(self._record(declaration, caller), "refused", 403)

    def _record(self, declaration: Declaration, caller: Caller) -> Entry:
        return self._audit.intend(
            actor=caller.actor,
            role=caller.role,
            address=caller.address,
            uid=caller.uid,
            method=request.method,
            route=request.url_rule.rule if request.url_rule else request.path,
            operation=declaration.operation if request.url_rule else "",
            arguments=self._redactor.mask(_arguments()),
        )


def _least_role(declaration: Declaration, changes: bool) -> str:
    if request.url_rule is None:
        return ROLES[0]
    return ROLES[1] if changes and declaration.role == ROLES[0] else declaration.role


def _arguments() -> Mapping[str, Any]:
    found: dict[str, Any] = {name: values if len(values) > 1 else values[0] for name, values in request.args.lists()}
    found |= request.view_args or {}
    body = request.get_json(silent=True) if (request.content_length or 0) <= 65536 and request.is_json else None
    return {**found, "body": body} if body is not None else found
