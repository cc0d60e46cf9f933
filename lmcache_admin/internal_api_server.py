"""InternalAPIServer: what a host builds, starts and stops; takes the place of LMCache's class of this name."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from typing import Any

from lmcache_admin.app import AdminApplication, create_app
from lmcache_admin.metrics_listener import metrics_listener
from lmcache_admin.scrape import SERVERS
from lmcache_admin.security import ANSWER_HEADERS, LargeBodies
from lmcache_admin.service import Service
from lmcache_admin.serving.address import Address, AddressError, address, port_offset
from lmcache_admin.serving.server import HTTPServer, ServerOptions, StartError
from lmcache_admin.settings import Settings, SettingsError

logger = logging.getLogger(__name__)


class InternalAPIServer:
    """One server for one manager. Nothing here ever raises into the host: it logs one clear line and stays off.

    Args:
        lmcache_manager: LMCache's manager, the embedded engine's, or another's of the same surface.

    Attributes:
        enable: Whether it is to serve: switched on, and its index in the include list.
        port: `port_start` plus 0 for a scheduler, 1 + worker id for a worker.
        socket_path_prefix, socket_path: With a prefix the server listens on the socket `<prefix>_<port>` only.
        app: The WSGI application; None when off.
        server: The HTTP server; None when off.
        server_log_info: `port N` or `socket PATH`.
        error: Why it could not be built or started, one line; None if it could.
    """

    def __init__(self, lmcache_manager: Any) -> None:
        self.enable = False
        self.error: str | None = None
        self.port: int | None = None
        self.socket_path_prefix: str | None = None
        self.socket_path: str | None = None
        self.server_log_info = ""
        self.app: AdminApplication | None = None
        self.server: HTTPServer | None = None
        self._metrics: HTTPServer | None = None
        self._lock = threading.Lock()
        self._serving = self._stopped = False
        try:
            self._build(lmcache_manager)
        except (SettingsError, AddressError) as error:
            self._fail(str(error))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # LMCache switches its cache off when this constructor raises
            logger.debug("The internal API server could not be built", exc_info=True)
            self._fail(f"{type(error).__name__}: {error}")

    @property
    def service(self) -> Service:
        """What this server holds; only while `app` is there."""
        if self.app is None:
            raise RuntimeError(f"this server is off: {self.error or 'it is not enabled'}")
        service: Service = self.app.extensions["lmcache_admin"]
        return service

    def attach_controller(self, controller_manager: Any) -> None:
        """Serve the registry of a controller that lives in this process under `/controller/…`."""
        if self.app is not None:
            self.service.controller = controller_manager
            self.app.state.lmcache_controller_manager = controller_manager

    def start(self) -> None:
        """Bind and serve on a thread of its own; a failure is logged as one line, and `error` says it."""
        with self._lock:
            if not self.enable or self.server is None or self._serving:
                return
            if self._stopped:
                logger.error("The internal API server on %s was stopped; build another one", self.server_log_info)
                return
            logger.info("Starting LMCache internal API server on %s", self.server_log_info)
            try:
                self.server.start()
            except StartError as error:
                self._fail(str(error))
                return
            self._serving = True
            self._start_metrics()
            SERVERS.add(self.service.metrics)
            self.service.background.start()
            logger.info("Running LMCache internal API server on %s", self.server_log_info)

    def stop(self) -> None:
        """Drain, close and remove the socket file; may be called twice, and from any thread."""
        with self._lock:
            if not self._serving or self.server is None:
                return
            self._serving, self._stopped = False, True
            logger.info("Stopping LMCache internal API server")
            self.service.stop()
            if self._metrics is not None:
                self._metrics.stop()
            self.server.stop()
            SERVERS.remove(self.service.metrics)
            self.service.audit.close()

    def _start_metrics(self) -> None:
        if self._metrics is None:
            return
        try:
            self._metrics.start()
        except StartError as error:  # the engine is managed all the same
            self.error = f"metrics listener: {error}"
            logger.error("No metrics listener: %s", error)  # noqa: TRY400 - one line, it says all there is

    def _build(self, manager: Any) -> None:
        offset = _offset(manager)
        config = getattr(manager.lmcache_engine, "config", None) if offset else None
        settings = Settings.from_host(manager.config if config is None else config, self._environment())
        place = address(settings.port_start, offset, settings.socket_path_prefix, settings.include_index_list)
        self._take(place, settings)
        if not (settings.enabled and place.included):
            logger.info(
                "Internal API server disabled. internal_api_server_enabled=%s, port_offset=%s, port=%s, "
                "socket_path=%s, include_index_list=%s",
                settings.enabled,
                offset,
                self.port,
                self.socket_path,
                settings.include_index_list,
            )
            return
        logger.info("Init internal API server on %s", self.server_log_info)
        self.app = create_app(manager, settings, name=self.server_log_info)
        routes = self.service.routes
        if routes is None:
            raise RuntimeError("the application has no routes")
        self._metrics = metrics_listener(self.app, routes, settings, offset, ANSWER_HEADERS, self.service.deaths)
        self.server = HTTPServer(self.app, routes.classify, _options(self.service, place))
        self.service.metrics.lanes = self.server.lanes.counters
        logging.getLogger("lmcache_admin.access").setLevel(settings.log_level_number)
        self.enable = True

    def _environment(self) -> Mapping[str, str]:
        """The environment that settings are read from."""
        return os.environ

    def _take(self, place: Address, settings: Settings) -> None:
        self.port = place.port
        self.socket_path_prefix = settings.socket_path_prefix
        self.socket_path = place.socket_path
        self.server_log_info = f"socket {place.socket_path}" if place.socket_path else f"port {place.port}"

    def _fail(self, why: str) -> None:
        self.error = why
        self.enable = False
        if self.app is not None:
            self.service.audit.close()
        logger.error("No internal API server: %s", why)


def _offset(manager: Any) -> int:
    engine = getattr(manager, "lmcache_engine", None)
    metadata = getattr(manager, "lmcache_engine_metadata", None)
    worker_id = getattr(getattr(engine, "metadata", None), "worker_id", None)
    return port_offset(has_engine=bool(engine), role=getattr(metadata, "role", None), worker_id=worker_id)


def _options(service: Service, place: Address) -> ServerOptions:
    settings, authentication = service.settings, service.authentication
    large = LargeBodies(authentication, service.audit, service.redactor)
    return ServerOptions(
        host=settings.host,
        port=place.port,
        socket_path=place.socket_path,
        socket_mode=settings.socket_mode,
        lane_threads=settings.lane_threads,
        lane_queues=settings.lane_queues,
        deadlines=settings.deadlines,
        access_log=settings.access_log,
        headers=ANSWER_HEADERS,
        check_body=large.check if authentication.asks else None,
        look_after=service.mend,
        deaths=service.deaths,
    )
