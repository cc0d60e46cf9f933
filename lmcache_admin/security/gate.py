"""The order of checks that every request passes, and the audit line on the way out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from flask import Request, Response, request

from lmcache_admin.declaration import ROLES, Declaration
from lmcache_admin.error_handlers import declaration_of
from lmcache_admin.errors import Failure, Forbidden, Invalid, Unauthorized
from lmcache_admin.long_work import CONCLUDE, RECHECK
from lmcache_admin.metrics_listener import OPEN
from lmcache_admin.security.audited import MAX_PARAMETERS, facts_of, too_many_parameters
from lmcache_admin.security.authentication import Authentication
from lmcache_admin.security.callers import Caller, over_unix_socket
from lmcache_admin.security.cross_origin import CrossOrigin
from lmcache_admin.security.origins import host_is_ours, is_loopback, refusal_of_page, sent_by

if TYPE_CHECKING:
    from flask import Flask

    from lmcache_admin.metrics import RequestCounts
    from lmcache_admin.security.audit import Audit, Entry
    from lmcache_admin.security.login import Login
    from lmcache_admin.security.redaction import Redactor
    from lmcache_admin.security.sessions import Session
    from lmcache_admin.settings import Settings

#: Paths that answer whatever name they are called by: probes come from anywhere.
_ANY_HOST = frozenset(("/healthz", "/readyz"))
#: What the gate keeps of a request, in its WSGI environment: when it began, who asks, what concludes its audit entry.
_STARTED = "lmcache_admin.started"
_ACTOR = "lmcache_admin.actor"
_ROLE = "lmcache_admin.role"
_ADDRESS = "lmcache_admin.address"
#: What a view tells the audit: that its change begins, and what was so before and after it.
_INTEND, _NOTE = "lmcache_admin.intend", "lmcache_admin.note"
#: Its session, if a good cookie came with it; and whether a browser sent it.
SESSION, BROWSER = "lmcache_admin.session", "lmcache_admin.browser"
#: Where a session begins: the one change of a browser that brings no CSRF token.
LOGIN_PATH = "/session"
#: What the 401 of a mode says.
_ASKED = {
    "token": "Who is asking is not known. The header Authorization has to hold Bearer and what was given to you.",
    "proxy": "This needs a user and a role, in the headers that a trusted proxy sets.",
}
#: What every answer has.
ANSWER_HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
    ("Vary", "Cookie, Authorization"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
)
#: Methods that are counted by their names.
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_HEADER_NAMES = frozenset(name.lower() for name, _ in ANSWER_HEADERS)


def secured(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return an answer's headers and those that every answer has; its own win."""
    own = {name.lower() for name, _ in headers}
    if own.isdisjoint(_HEADER_NAMES):
        return [*headers, *ANSWER_HEADERS]
    return headers + [(name, value) for name, value in ANSWER_HEADERS if name.lower() not in own]


class Gate:
    """Admits requests in this order: name, origin, identity, role, read-only; and records changes and refusals.

    Args:
        settings: The policy.
        authentication: Finds the caller.
        login: Sessions of browsers.
        audit: Where changes and refusals are recorded.
        redactor: What masks their arguments.
        requests: Where every answer is counted.
    """

    def __init__(
        self,
        settings: Settings,
        authentication: Authentication,
        login: Login,
        audit: Audit,
        redactor: Redactor,
        requests: RequestCounts,
    ) -> None:
        self._settings = settings
        self._authentication = authentication
        self._login = login
        self._audit = audit
        self._redactor = redactor
        self._requests = requests
        self._cross = CrossOrigin(settings.allowed_origins, settings.auth)
        self._names = frozenset(name.lower() for name in settings.allowed_hosts)

    def guard(self, app: Flask) -> None:
        """Put the gate before every route of `app`."""
        app.before_request(self.admit)
        app.after_request(self.leave)

    def admit(self) -> Response | None:
        """Let the request through, answer a browser's question whether it may ask, or raise.

        Raises:
            Forbidden: A check failed; `message` says which.
            Invalid: The query has too many parameters.
            Unauthorized: This mode asks for credentials.
            Failure: 404, the feature is switched off; 503, the audit takes no line.
        """
        asked = _asked()
        environ = asked.environ
        environ[_STARTED] = time.monotonic()
        self._authentication.proxies.read(environ)
        declaration = declaration_of(asked)
        if asked.url_rule is not None and declaration.switch and not getattr(self._settings, declaration.switch):
            raise Failure(404, declaration.switched_off)
        changes = _changes(asked, declaration)
        foreign = self._refusal_of_sender(asked, changes)
        if not foreign and self._cross.is_question(environ):
            return self._cross.answer()
        self._admit_caller(asked, declaration, changes, foreign)
        return None

    def _admit_caller(self, asked: Request, declaration: Declaration, changes: bool, foreign: str | None) -> None:
        environ, role = asked.environ, _least_role(asked, declaration, changes)
        caller = self._authentication.caller(environ, role)
        open_to_all = OPEN in environ or self._is_public(declaration, asked)
        told = partial(facts_of, asked, declaration, caller, self._redactor)
        if not foreign and self._authentication.asks and not caller.role and not open_to_all:
            self._audit.refuse(401, **told(whole=False))
            raise Unauthorized(_ASKED[self._authentication.mode])
        refusal = foreign or ("" if open_to_all else self._refusal_of_caller(caller, role))
        refusal = refusal or self._refusal_of_change(asked, changes)
        if refusal:
            known = bool(caller.role) and not foreign
            self._audit.refuse(403, known=known, **told(whole=known))
            raise Forbidden(refusal)
        if count := too_many_parameters(asked):
            message = f"{count} parameters were given, at most {MAX_PARAMETERS} are allowed"
            raise Invalid("Too many parameters", message)
        environ[_ACTOR], environ[_ROLE], environ[_ADDRESS] = caller.actor, caller.role, caller.address
        if changes and asked.url_rule is not None:
            environ[RECHECK] = partial(self._authentication.still_allowed, environ, caller, role)
            self._record(environ, declaration, told)

    def _record(self, environ: dict[str, Any], declaration: Declaration, told: Callable[..., dict[str, Any]]) -> None:
        """Have a change recorded: now, or once its view says that it begins, where strangers may ask for it."""

        def intend(actor: str = "", role: str = "") -> None:
            facts = told(whole=True)
            facts |= {"actor": actor or facts["actor"], "role": role or facts["role"]}
            entry = self._audit.intend(destructive=declaration.destructive, **facts)
            environ[CONCLUDE] = partial(self._conclude, entry, environ[_STARTED])
            environ[_NOTE] = partial(self._note, entry)

        if not declaration.public:
            intend()
            return
        environ[_INTEND] = intend
        environ[CONCLUDE] = partial(self._conclude_public, told)

    def leave(self, response: Response) -> Response:
        """Count the answer and record the outcome of a change."""
        asked = _asked()
        environ = asked.environ
        seconds = time.monotonic() - environ[_STARTED]
        rule, method = asked.url_rule, asked.method if asked.method in _METHODS else "other"
        self._requests.add(method, rule.rule if rule else "unmatched", response.status_code, seconds)
        conclude = environ.pop(CONCLUDE, None)
        if conclude is not None:
            conclude(response.status_code)
        session = environ.get(SESSION)
        if session is not None and "Set-Cookie" not in response.headers and self._login.sessions.is_due(session):
            response.headers["Set-Cookie"] = self._login.cookie(session, environ)
        self._cross.allow(environ, response.headers)
        return response

    def _note(self, entry: Entry, before: Any, after: Any) -> None:
        self._audit.note(entry, self._redactor.mask(before), self._redactor.mask(after))

    def _conclude(self, entry: Entry, started: float, status: int) -> None:
        duration_ms = round((time.monotonic() - started) * 1000, 3)
        self._audit.conclude(entry, "done" if status < 400 else "failed", status, duration_ms)

    def _conclude_public(self, told: Callable[..., dict[str, Any]], status: int) -> None:
        """Record what strangers may ask for, and did not get: a flood of it is counted, not written."""
        if status >= 400:
            self._audit.refuse(status, **told(whole=True))

    def _refusal_of_sender(self, asked: Request, changes: bool) -> str | None:
        environ, settings = asked.environ, self._settings
        if OPEN in environ:
            return None
        browser, proxied = sent_by(environ)
        session = environ[SESSION] = self._login.session(environ)
        browser = browser or session is not None
        environ[BROWSER] = browser
        if asked.path not in _ANY_HOST and (browser or not over_unix_socket(environ)):
            host = environ.get("HTTP_HOST")
            if host is not None and not host_is_ours(host, self._names, settings.auth == "local"):
                return f"The name {host!r} is not this server's; names are listed in internal_api_server_allowed_hosts."
        if settings.auth == "local" and proxied:
            return "internal_api_server_auth is local: what a proxy passes on has no caller that could be known."
        if settings.auth == "local" and not is_loopback(environ.get("REMOTE_ADDR") or ""):
            return "internal_api_server_auth is local: only callers on this machine are served."
        if not browser:
            return None
        fits = asked.path == LOGIN_PATH and asked.method == "POST"  # its session has yet to begin
        fits = fits or self._cross.needs_no_session(environ)
        fits = fits or (session is not None and self._csrf_fits(session, environ))
        return refusal_of_page(environ, changes, settings.allowed_origins, fits)

    def _csrf_fits(self, session: Session, environ: Mapping[str, Any]) -> bool:
        return self._login.sessions.csrf_fits(session, environ.get("HTTP_X_CSRF_TOKEN", ""))

    def _is_public(self, declaration: Declaration, asked: Request) -> bool:
        if asked.url_rule is None or not declaration.public:
            return False
        return declaration.public == "always" or bool(getattr(self._settings, declaration.public))

    def _refusal_of_caller(self, caller: Caller, role: str) -> str | None:
        if role not in ROLES:
            return "This route declares no role, so nobody may call it."
        if caller.may(role):
            return None
        hint = ""
        if role == ROLES[-1] and self._authentication.mode == "local":
            hint = " Over the Unix socket the engine's own user is admin."
        return f"This needs the role {role}; {caller.actor} has the role {caller.role or 'none'}.{hint}"

    def _refusal_of_change(self, asked: Request, changes: bool) -> str | None:
        if changes and self._settings.read_only and asked.url_rule is not None and asked.path != LOGIN_PATH:
            return "internal_api_server_read_only is set: nothing can be changed."
        return None


def _asked() -> Request:
    """The request itself: each access through Flask's proxy looks it up anew."""
    asked: Request = request._get_current_object()  # type: ignore[attr-defined]  # werkzeug's proxy
    return asked


def _changes(asked: Request, declaration: Declaration) -> bool:
    if asked.url_rule is None:
        return asked.method not in ("GET", "HEAD", "OPTIONS")
    if asked.method != "GET":
        return True
    return any(asked.args.getlist(name)[-1:] not in ([], [""]) for name in declaration.changes_if)


def _least_role(asked: Request, declaration: Declaration, changes: bool) -> str:
    if asked.url_rule is None:
        return ROLES[0]
    return ROLES[1] if changes and declaration.role == ROLES[0] else declaration.role
