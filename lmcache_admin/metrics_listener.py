"""The second listener: metrics and health for scrapers and probes on the network, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lmcache_admin.routes import UNMATCHED
from lmcache_admin.serving.address import port_at
from lmcache_admin.serving.options import UNCHECKED_BODY
from lmcache_admin.serving.server import HTTPServer, ServerOptions

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from lmcache_admin.deaths import Deaths
    from lmcache_admin.routes import RouteTable
    from lmcache_admin.serving.lanes import Route
    from lmcache_admin.settings import Settings

PATHS = ("/metrics", "/healthz", "/readyz")
#: Set in the WSGI environment of a request that came in here: it may read these paths, by whatever name it calls us.
OPEN = "lmcache_admin.open_listener"


class OnlyPublic:
    """A WSGI application that passes GET requests for `PATHS` on and knows nothing else."""

    def __init__(self, app: WSGIApplication, routes: RouteTable, headers: tuple[tuple[str, str], ...]) -> None:
        self._app = app
        self._headers = headers
        self._routes = routes

    def classify(self, method: str, path: str) -> Route:
        """Return the route of a request, for the lanes."""
        return self._routes.classify(method, path) if _is_public(method, path) else UNMATCHED

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        if _is_public(environ["REQUEST_METHOD"], environ["PATH_INFO"]):
            environ[OPEN] = True
            return self._app(environ, start_response)
        body = {"error": "Not Found", "message": f"This listener serves GET {', '.join(PATHS)} and nothing else."}
        start_response("404 Not Found", [("Content-Type", "application/json"), *self._headers])
        return [json.dumps(body).encode()]


def _is_public(method: str, path: str) -> bool:
    return method == "GET" and path in PATHS


def metrics_port(settings: Settings, offset: int) -> int:
    """The listener's port in the process with that offset.

    Raises:
        AddressError: It is above 65535.
    """
    return port_at("internal_api_server_metrics_port_start", settings.metrics_port_start, offset)


def metrics_listener(
    app: WSGIApplication,
    routes: RouteTable,
    settings: Settings,
    offset: int,
    headers: tuple[tuple[str, str], ...],
    deaths: Deaths,
) -> HTTPServer | None:
    """Make the listener, or None where no setting asks for one.

    Args:
        app: The application of the server beside which it listens.
        routes: That application's routes.
        settings: `metrics_host` and `metrics_port_start`.
        offset: 0 for a scheduler, 1 + worker id for a worker.
        headers: What the listener's own refusals have besides their own.
        deaths: Where a thread of the listener that has died is noted.

    Raises:
        AddressError: The port is above 65535.
    """
    if settings.metrics_host is None:
        return None
    port = metrics_port(settings, offset)
    public = OnlyPublic(app, routes, headers)
    options = ServerOptions(
        host=settings.metrics_host,
        port=port,
        access_log=settings.access_log,
        headers=headers,
        max_body_bytes=UNCHECKED_BODY,
        deaths=deaths,
    )
    return HTTPServer(public, public.classify, options)
