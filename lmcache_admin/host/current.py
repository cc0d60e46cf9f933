"""The parts of the host of the server that is answering now; each raises one kind of failure when it is absent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from flask import Flask, Response, after_this_request, current_app, request

from lmcache_admin.errors import Detail, Unavailable
from lmcache_admin.parsing import whole_body

if TYPE_CHECKING:
    from lmcache_admin.host.protocols import Engine, LookupManager, Manager, Registry, Runtime, StorageManager
    from lmcache_admin.job_runner import Jobs
    from lmcache_admin.security.login import Login
    from lmcache_admin.security.sessions import Session
    from lmcache_admin.service import Service


__all__ = [
    "BrowserSession",
    "current_application",
    "current_arrival",
    "current_body",
    "current_caller_may",
    "current_config",
    "current_config_folders",
    "current_definitions",
    "current_engine",
    "current_jobs",
    "current_lookup_changes",
    "current_lookup_client",
    "current_lookup_manager",
    "current_manager",
    "current_openapi",
    "current_registry",
    "current_role",
    "current_runtime",
    "current_service",
    "current_session",
    "current_storage",
    "note_change",
]


def current_service() -> Service:
    """The service whose application is handling this request."""
    return cast("Service", current_app.extensions["lmcache_admin"])


def current_runtime() -> Runtime:
    """What the process offers beside the engine: versions, periodic threads, metrics."""
    return current_service().runtime


def current_manager(message: str = "LMCache adapter not configured.") -> Manager:
    """The manager.

    Raises:
        Unavailable: This process has none.
    """
    manager = current_service().manager
    if manager is None:
        raise Unavailable(message)
    return manager


def current_config() -> Any:
    """The engine's configuration object, or None."""
    manager = current_service().manager
    return getattr(manager, "config", None)


def current_config_folders() -> tuple[str, ...]:
    """The folders whose files a request may name as a configuration."""
    return current_service().settings.config_folders


def current_definitions() -> Mapping[str, Mapping[str, Any]]:
    """Key -> type, default and converter of the engine's configuration."""
    own = getattr(current_config(), "_config_definitions", None)
    return own if own is not None else current_service().definitions


def current_application() -> Flask:
    """The application that is answering; its `state.lmcache_adapter` is the manager."""
    return cast("Flask", current_app._get_current_object())  # type: ignore[attr-defined]  # werkzeug's proxy


def current_session() -> BrowserSession:
    """The session of whoever is asking, as a view may begin, show and end it."""
    return BrowserSession(current_service().login)


def current_role() -> str:
    """The role of whoever is asking; empty for nobody."""
    role: str = request.environ.get("lmcache_admin.role", "")
    return role


def current_caller_may(role: str) -> bool:
    """Tell whether whoever is asking has this role, or one above it."""
    return current_service().authentication.may(request.environ, role)


def current_arrival() -> float:
    """When this request was complete, by `time.monotonic`."""
    arrived: float = request.environ.get("lmcache_admin.arrived") or time.monotonic()
    return arrived


def current_body() -> bytes:
    """The request's body, whatever its content type says."""
    return whole_body(request)


def current_openapi() -> dict[str, Any]:
    """The OpenAPI document of the server that is answering."""
    return current_service().openapi.document()


def current_jobs() -> Jobs:
    """The long work of the server that is answering."""
    return current_service().jobs


def current_engine() -> Engine:
    """The engine, ready to be used.

    Raises:
        Unavailable: There is none, or it has no storage manager yet (before its post-init).
    """
    engine = _engine()
    if getattr(engine, "storage_manager", engine) is None:  # an engine without such a thing is ready as it is
        raise Unavailable("LMCache engine is not ready yet: it has no storage manager.")
    return engine


def current_storage(message: str = "StorageManager not initialized.") -> StorageManager:
    """The engine's storage manager.

    Raises:
        Unavailable: There is no engine, or it has no storage manager (`message` says that).
    """
    storage = _engine().storage_manager
    if storage is None:
        raise Unavailable(message)
    return storage


def _engine() -> Engine:
    engine = getattr(current_service().manager, "lmcache_engine", None)
    if not engine:
        raise Unavailable
    return cast("Engine", engine)


def current_lookup_manager() -> LookupManager:
    """The manager as the owner of lookup client and server.

    Raises:
        Unavailable: This process has none.
    """
    manager = current_service().manager
    if manager is None:
        raise Unavailable(None)
    return cast("LookupManager", manager)


def current_lookup_changes() -> threading.Lock:
    """Held by whoever changes lookup client or server."""
    return current_service().lookup_changes


def current_lookup_client() -> Any:
    """The lookup client.

    Raises:
        Unavailable: This process has none.
    """
    client = getattr(current_service().manager, "lookup_client", None)
    if not client:
        raise Unavailable("Lookup client not configured.")
    return client


def current_registry() -> Registry:
    """The worker registry of an attached controller.

    Raises:
        Detail: 503, no controller is attached.
    """
    controller = current_service().controller
    if controller is None:
        raise Detail(503, "Controller manager not available")
    return cast("Registry", controller.reg_controller.registry)


def note_change(before: Any, after: Any) -> None:
    """Tell the audit what was so before the change that this request asked for, and what is so after it."""
    note: Callable[[Any, Any], None] | None = request.environ.get("lmcache_admin.note")
    if note is not None:
        note(before, after)


class BrowserSession:
    """What a view does with the session of the browser that is asking.

    Args:
        login: The sessions of this server.
    """

    def __init__(self, login: Login) -> None:
        self._login = login

    def begin(self, name: str, password: str) -> dict[str, Any]:
        """Log in, give the browser its cookie, and describe the session.

        Raises:
            Unauthorized: Name or password are wrong.
            Failure: 429, it failed too often.
        """
        environ = request.environ
        user, session = self._login.log_in(name, password, environ["lmcache_admin.address"])
        environ["lmcache_admin.intend"](f"user {user.name}", user.role)
        self._send(session)
        return self._described(f"user {user.name}", user.role, session)

    def show(self) -> dict[str, Any]:
        """Describe whoever is asking; a browser without a session gets one that holds its CSRF token."""
        environ = request.environ
        session = environ.get("lmcache_admin.session")
        if session is None and environ.get("lmcache_admin.browser"):
            session = self._login.sessions.begin()
            self._send(session)
        return self._described(environ.get("lmcache_admin.actor", ""), environ.get("lmcache_admin.role", ""), session)

    def end(self) -> dict[str, Any]:
        """End all sessions of this user, and the browser's cookie."""
        environ = request.environ
        session = environ.get("lmcache_admin.session")
        self._send(None)  # the browser's cookie ends, whatever becomes of the others
        if session is not None:
            environ["lmcache_admin.intend"](environ["lmcache_admin.actor"], environ["lmcache_admin.role"])
            self._login.log_out(session)
        return {"status": "ended"}

    def _described(self, actor: str, role: str, session: Session | None) -> dict[str, Any]:
        return {
            "actor": actor,
            "role": role,
            "mode": current_service().settings.auth,
            "can_log_in": self._login.users is not None,
            "csrf_token": self._login.sessions.csrf_token(session) if session is not None else None,
        }

    def _send(self, session: Session | None) -> None:
        cookie = self._login.cookie(session, request.environ)

        @after_this_request
        def _with_cookie(response: Response) -> Response:
            response.headers["Set-Cookie"] = cookie
            return response
