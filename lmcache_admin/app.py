"""create_app(): the one place where the rooms are joined. Start reading here."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from flask import Flask, Request
from werkzeug.routing import MapAdapter, Rule

from lmcache_admin.background import Background, PeriodicTask
from lmcache_admin.deaths import Deaths
from lmcache_admin.engine import Configuration, StorageManager
from lmcache_admin.error_handlers import register_error_handlers
from lmcache_admin.host.plain import PlainRuntime
from lmcache_admin.job_runner import Jobs
from lmcache_admin.loader import BlueprintLoader
from lmcache_admin.metrics import RequestCounts, ServiceMetrics
from lmcache_admin.openapi import OpenApi
from lmcache_admin.operations.health import INTERVAL, Health
from lmcache_admin.operations.script_fences import CHECK_INTERVAL, ScriptFences
from lmcache_admin.routes import FixedRoutes, RouteTable
from lmcache_admin.scrape import Scrape
from lmcache_admin.security import (
    Audit,
    AuditFile,
    Authentication,
    Gate,
    Login,
    Redactor,
    check_patterns,
    guard_own_loggers,
    secured,
)
from lmcache_admin.service import Service
from lmcache_admin.serving.lanes import lane_limits
from lmcache_admin.settings import Settings, SettingsError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment
    from flask.typing import ResponseReturnValue

    from lmcache_admin.host.protocols import Manager, Runtime

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Largest body that is read, bytes (requirement S42).
MAX_BODY = 1024 * 1024


class ExactRule(Rule):
    """A rule that serves the methods it names and no HEAD beside GET, as the contract has it."""

    def __init__(self, string: str, methods: Iterable[str] | None = None, **options: Any) -> None:
        super().__init__(string, methods=methods, **options)
        if methods is not None and "HEAD" not in {method.upper() for method in methods} and self.methods:
            self.methods.discard("HEAD")


class AdminApplication(Flask):
    """The Flask application of one server.

    Attributes:
        state: `lmcache_adapter` (the manager) and `lmcache_controller_manager`, which scripts of operators read.
    """

    url_rule_class: type[Rule] = ExactRule

    def __init__(self, manager: Manager | None) -> None:
        super().__init__("lmcache_admin", static_folder=None)
        self.state = SimpleNamespace(lmcache_adapter=manager, lmcache_controller_manager=None)
        self.config.update(MAX_CONTENT_LENGTH=MAX_BODY, PROVIDE_AUTOMATIC_OPTIONS=False)
        self.url_map.merge_slashes = False
        self.url_map.redirect_defaults = False
        self._callable: dict[Callable[..., Any], Callable[..., Any]] = {}

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Find the route by a look-up where that will do; the gate checks the Host header."""
        routes = self.extensions["lmcache_admin"].routes if request is not None else None
        if routes is None or request is None:
            return super().create_url_adapter(request)
        return FixedRoutes(self.url_map, request.environ, routes.fixed)

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """As Flask's, which inspects each function anew for each request."""
        found = self._callable.get(func)
        if found is None:
            found = self._callable[func] = super().ensure_sync(func)
        return found

    def wsgi_app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request, with the headers that every answer has."""

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, secured(headers), exc_info)

        return super().wsgi_app(environ, start)

    def preprocess_request(self) -> ResponseReturnValue | None:
        """As Flask's; what asks the process to end is a failure of its request."""
        return _as_failure(super().preprocess_request)

    def dispatch_request(self) -> ResponseReturnValue:
        """As Flask's; a view, or the host in it, that asks the process to end is a failure of its request (S52)."""
        return _as_failure(super().dispatch_request)


def _as_failure(act: Callable[[], T]) -> T:
    """Turn SystemExit and its like into an exception that the error handler answers, logs and leaves to the audit."""
    try:
        return act()
    except Exception:
        raise
    except BaseException as error:
        raise RuntimeError(f"it ended with {type(error).__name__}") from error


def create_app(
    manager: Manager | None,
    settings: Settings | None = None,
    *,
    kind: str = "engine",
    name: str = "wsgi",
) -> AdminApplication:
    """Make the WSGI application of one server; its `Service` is `app.extensions["lmcache_admin"]`.

    Args:
        manager: Whoever embeds us: LMCache's manager, ours, another's of the same surface, or None.
        settings: The settings; None reads them from the manager's configuration and the environment.
        kind: Process kind: `engine`, `controller` or `gateway`.
        name: Tells the servers of one process apart in metrics.

    Raises:
        SettingsError: A bad setting, or a policy that forbids the start.
        ImportError: A built-in endpoint file failed.
    """
    settings = settings or Settings.from_host(getattr(manager, "config", None))
    runtime = _runtime()
    redactor, audit = _redactor(settings), _audit(settings)
    health = Health(lambda: engine_state(manager), _needs_engine(manager), lambda: _probes(runtime, manager))
    app, requests, deaths, login = AdminApplication(manager), RequestCounts(), Deaths(), Login(settings)
    jobs = Jobs(lane_limits(settings.lane_threads, settings.lane_queues, settings.deadlines)["job"], deaths)
    openapi = OpenApi(app, settings.auth)
    service = Service(
        settings=settings,
        manager=manager,
        runtime=runtime,
        kind=kind,
        name=name,
        audit=audit,
        redactor=redactor,
        health=health,
        background=Background(deaths),
        jobs=jobs,
        login=login,
        authentication=Authentication(settings, login),
        deaths=deaths,
        loader=BlueprintLoader(settings.blueprint_paths, kind, openapi.check),
        scrape=Scrape(redactor.mask),
        metrics=ServiceMetrics(name, requests, health.report, partial(_embedded_figures, manager), jobs, deaths, audit),
        openapi=openapi,
        definitions=Configuration._config_definitions,
    )
    _register(app, service, requests)
    return app


def _redactor(settings: Settings) -> Redactor:
    """What masks secrets, in log lines too.

    Raises:
        SettingsError: A pattern takes too long.
    """
    check_patterns(settings.redact_patterns)
    redactor = Redactor(settings.redact_patterns)
    guard_own_loggers(redactor)
    return redactor


def _audit(settings: Settings) -> Audit:
    """The audit, in its file if a setting names one.

    Raises:
        SettingsError: The file cannot be used.
    """
    path = settings.audit_file
    if path is None:
        return Audit()
    try:
        file = AuditFile(path, settings.audit_max_bytes, settings.audit_keep)
    except OSError as error:
        reason, key = error.strerror or str(error), "internal_api_server_audit_file"
        raise SettingsError(key, path, "a file that can be written", reason=reason) from None
    return Audit(file, settings.audit_required)


def _gate(service: Service, requests: RequestCounts) -> Gate:
    authentication, audit = service.authentication, service.audit
    service.health.troubles += [lambda: authentication.problems, lambda: audit.problems, service.deaths.troubles]
    return Gate(service.settings, authentication, service.login, audit, service.redactor, requests)


def _register(app: AdminApplication, service: Service, requests: RequestCounts) -> None:
    _gate(service, requests).guard(app)
    app.extensions["lmcache_admin"] = service
    service.background.add(PeriodicTask("probe", service.health.probe, INTERVAL))
    register_error_handlers(app)
    service.loader.register_all(app)
    service.routes = RouteTable(app)
    _prepare_scripts(service)


def _prepare_scripts(service: Service) -> None:
    """Say that scripts can do anything; or try, in the background, what keeps them from that."""
    if not service.settings.run_script_api_enabled:
        return
    if service.settings.run_script_mode == "in_process":
        logger.warning("POST /run_script is on: what an admin sends runs in this process, and there is no sandbox")
        return
    fences = ScriptFences()
    service.health.troubles.append(lambda: fences.problems)
    service.background.add(PeriodicTask("script-fences", fences.check, CHECK_INTERVAL))


def engine_state(manager: Manager | None) -> str:
    """Return `absent`, `starting` (no storage manager yet) or `ready`."""
    engine = getattr(manager, "lmcache_engine", None)
    if not engine:
        return "absent"
    return "starting" if getattr(engine, "storage_manager", engine) is None else "ready"


def _needs_engine(manager: Manager | None) -> bool:
    metadata = getattr(manager, "lmcache_engine_metadata", None)
    return getattr(metadata, "role", None) == "worker" or bool(getattr(manager, "lmcache_engine", None))


def _embedded_figures(manager: Manager | None) -> Mapping[str, Mapping[str, float]]:
    """Figures of the embedded engine's backends; another's storage is not asked: a scrape must not wait for a host."""
    storage = getattr(getattr(manager, "lmcache_engine", None), "storage_manager", None)
    return storage.stats() if isinstance(storage, StorageManager) else {}


def _runtime() -> Runtime:
    """What the process offers: LMCache's own where it has been imported."""
    if "lmcache" not in sys.modules:
        return PlainRuntime()
    from lmcache_admin.integrations.lmcache_runtime import LMCacheRuntime

    return LMCacheRuntime()


def _probes(runtime: Runtime, manager: Manager | None) -> Any:
    return runtime.probes(manager) if manager is not None else {}
