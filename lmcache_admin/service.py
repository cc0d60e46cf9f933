"""Service: what one server holds. Two servers in one process share none of it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmcache_admin.background import Background
    from lmcache_admin.deaths import Deaths
    from lmcache_admin.host.protocols import Manager, Runtime
    from lmcache_admin.job_runner import Jobs
    from lmcache_admin.loader import BlueprintLoader
    from lmcache_admin.metrics import ServiceMetrics
    from lmcache_admin.openapi import OpenApi
    from lmcache_admin.operations.health import Health
    from lmcache_admin.routes import RouteTable
    from lmcache_admin.scrape import Scrape
    from lmcache_admin.security.audit import Audit
    from lmcache_admin.security.authentication import Authentication
    from lmcache_admin.security.login import Login
    from lmcache_admin.security.redaction import Redactor
    from lmcache_admin.settings import Settings


@dataclass
class Service:
    """The state of one server, reached through `host.current`.

    Args:
        settings: Read once, at start.
        manager: Whoever embeds us, or None.
        runtime: What the process offers beside the manager.
        kind: Process kind: `engine`, `controller` or `gateway`.
        name: Tells the servers of one process apart in metrics: `port 7000`, or the socket's path.
        audit, redactor, health, background: One each.
        jobs: Long work, and what came of it.
        login: Users and their sessions.
        authentication: Who is calling.
        deaths: Threads of this server that have died.
        loader: What was loaded and what was left out.
        scrape: Renders `/metrics`.
        metrics: This server's own series; shown while it serves.
        openapi: The OpenAPI document.
        definitions: Keys of an LMCache configuration, for a host whose configuration does not define its own.
        routes: What is served; set when all blueprints are registered.
        controller: An attached controller manager, or None.
        lookup_changes: Held by whoever changes lookup client or server: hosts expect one change at a time.
    """

    settings: Settings
    manager: Manager | None
    runtime: Runtime
    kind: str
    name: str
    audit: Audit
    redactor: Redactor
    health: Health
    background: Background
    jobs: Jobs
    login: Login
    authentication: Authentication
    deaths: Deaths
    loader: BlueprintLoader
    scrape: Scrape
    metrics: ServiceMetrics
    openapi: OpenApi
    definitions: Mapping[str, Mapping[str, Any]]
    routes: RouteTable | None = None
    controller: Any = None
    lookup_changes: threading.Lock = field(default_factory=threading.Lock)

    def mend(self) -> None:
        """Find what has lost its thread, and give it another; called about once a second."""
        self.background.mend()
        self.jobs.mend()

    def stop(self) -> None:
        """End what runs in the background, and close what is open; the server that asks has stopped, or will."""
        self.background.stop(timeout=2.0)
        self.jobs.stop(seconds=2.0)
