"""`application` for gunicorn, uWSGI and mod_wsgi: the service with an embedded engine, one process of many threads.

Settings come from the file that `LMCACHE_CONFIG_FILE` names (else the shipped `lmcache.yaml`) and the environment.
Another engine's WSGI file calls `create_app(manager)` itself, and `serve_in_each_process` with what it must start.
"""

from __future__ import annotations

import atexit
import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lmcache_admin.app import AdminApplication, create_app
from lmcache_admin.engine import Configuration, Manager
from lmcache_admin.scrape import SERVERS
from lmcache_admin.security import ANSWER_HEADERS
from lmcache_admin.settings_file import load_settings_file
from lmcache_admin.shipped import shipped_folder

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from lmcache_admin.service import Service

__all__ = ["application", "serve_in_each_process"]

MEND_SECONDS = 1.0


class StartedPerProcess:
    """A WSGI application whose threads begin with the first request of each process, since a preloading parent forks.

    Args:
        app: The application.
        begin: Starts what serves it; what it returns is called when the process ends.
        mend: Gives another thread to what has lost its own; called with a request, at most once a second.
    """

    def __init__(
        self, app: WSGIApplication, begin: Callable[[], Callable[[], None]], mend: Callable[[], None] = lambda: None
    ) -> None:
        self._app = app
        self._begin = begin
        self._mend = mend
        self._mended = 0.0
        self._process: int | None = None
        self._lock = threading.Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        if self._process != os.getpid():
            with self._lock:
                if self._process != os.getpid():
                    atexit.register(self._begin())
                    self._process = os.getpid()
        now = time.monotonic()
        if now - self._mended > MEND_SECONDS:
            self._mended = now
            self._mend()
        refusal = _refusal(environ)
        if refusal is not None:
            status, message = refusal
            start_response(status, [("Content-Type", "application/json"), *ANSWER_HEADERS])
            return [json.dumps({"error": status[4:], "message": message}).encode()]
        return self._app(environ, start_response)


def _refusal(environ: WSGIEnvironment) -> tuple[str, str] | None:
    """Status and reason for what our own server refuses and others let through (S50); None for other requests."""
    method, host = environ["REQUEST_METHOD"], environ.get("HTTP_HOST")
    if method in ("TRACE", "CONNECT"):
        return "405 Method Not Allowed", f"{method} is not served"
    if host is None and environ.get("SERVER_PROTOCOL") == "HTTP/1.1":
        return "400 Bad Request", "a request needs one Host header"
    target = str(environ.get("RAW_URI") or environ.get("REQUEST_URI") or "/")
    if not target.startswith(("/", "*")) and urlsplit(target).netloc.lower() != (host or "").lower():
        return "400 Bad Request", "the address in the request line is not that of the Host header"
    return None


def serve_in_each_process(app: AdminApplication, manager: Manager | None = None) -> WSGIApplication:
    """Return `app` so that its background tasks, and `manager` if given, run in each process that serves it."""
    service: Service = app.extensions["lmcache_admin"]

    def begin() -> Callable[[], None]:
        if manager is not None:
            manager.start()
        SERVERS.add(service.metrics)
        service.background.start()
        return end

    def end() -> None:
        service.stop()
        SERVERS.remove(service.metrics)
        if manager is not None:
            manager.stop()
        service.audit.close()

    return StartedPerProcess(app, begin, service.mend)


def _embedded() -> WSGIApplication:
    path = os.environ.get("LMCACHE_CONFIG_FILE") or str(shipped_folder("conf") / "lmcache.yaml")
    manager = Manager(Configuration.from_mapping(load_settings_file(path)), role="worker", worker_id=0)
    return serve_in_each_process(create_app(manager), manager)


application = _embedded()
