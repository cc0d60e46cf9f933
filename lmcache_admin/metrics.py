"""Measurements of the service itself, and the scrape that shows them beside the host's."""

from __future__ import annotations

import os
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

#: Upper bounds of the buckets of request durations, seconds.
BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0)
CONTRACT_TYPE = "text/plain; charset=utf-8"


class RequestCounts:
    """Counts and durations of requests by method, route pattern and status; cheap to add to."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, int], list[float]] = {}
        self._lock = threading.Lock()

    def add(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        key = (method, route, status)
        with self._lock:
            cells = self._counts.get(key)
            if cells is None:
                cells = self._counts[key] = [0.0] * (len(BUCKETS) + 2)
            cells[bisect_left(BUCKETS, seconds)] += 1
            cells[-1] += seconds

    def families(self, server: str) -> Iterator[Metric]:
        """Yield what Prometheus reads, with the label `server`."""
        with self._lock:
            counts = {key: list(cells) for key, cells in self._counts.items()}
        family = HistogramMetricFamily(
            "lmcache_admin_request_seconds",
            "Answered requests and their duration from admission to answer.",
            labels=["server", "method", "route", "status"],
        )
        for (method, route, status), cells in counts.items():
            total, buckets = 0.0, []
            for bound, count in zip([*map(str, BUCKETS), "+Inf"], cells, strict=False):
                total += count
                buckets.append((bound, total))
            family.add_metric([server, method, route, str(status)], buckets, cells[-1])
        yield family


class ServiceCollector(Collector):
    """The series of one server, named `lmcache_admin_*`.

    Args:
        server: Tells the servers of one process apart.
        requests: Its request counts.
        health: Returns the report of `/readyz`.
    """

    def __init__(self, server: str, requests: RequestCounts, health: Callable[[], Mapping[str, Any]]) -> None:
        self._server = server
        self._requests = requests
        self._health = health
        #: Returns lane name -> figures; set when a server with lanes serves this application.
        self.lanes: Callable[[], Mapping[str, Mapping[str, float]]] | None = None

    def collect(self) -> Iterable[Metric]:
        """Yield every series; called by a scrape."""
        yield from self._requests.families(self._server)
        yield from self._readiness()
        if self.lanes is not None:
            yield from self._lane_families(self.lanes())

    def describe(self) -> Iterable[Metric]:
        """Return nothing: several servers of a process have the same names, told apart by the label `server`."""
        return []

    def _readiness(self) -> Iterator[Metric]:
        report = self._health()
        ready = GaugeMetricFamily("lmcache_admin_ready", "1 while /readyz answers 200.", labels=["server"])
        ready.add_metric([self._server], float(report["status"] in ("ok", "degraded")))
        yield ready
        checks = GaugeMetricFamily(
            "lmcache_admin_check_ok",
            "1 if the last probe of this check did not fail.",
            labels=["server", "check"],
        )
        for check in report["checks"]:
            checks.add_metric([self._server, check["name"]], float(check["status"] != "failed"))
        yield checks

    def _lane_families(self, lanes: Mapping[str, Mapping[str, float]]) -> Iterator[Metric]:
        names = sorted({name for figures in lanes.values() for name in figures})
        for name in names:
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            family = kind(
                f"lmcache_admin_lane_{name.removesuffix('_total')}",
                f"Lane: {name}.",
                labels=["server", "lane"],
            )
            for lane, figures in lanes.items():
                if name in figures:
                    family.add_metric([self._server, lane], figures[name])
            yield family


class Scrape:
    """Renders the metrics of the process: one rendering at a time, shared by those that waited for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: tuple[float, bytes] = (float("-inf"), b"")

    def render(self, accept: str, arrived: float) -> tuple[bytes, str]:
        """Return the exposition (text format 0.0.4) and its content type.

        Args:
            accept: The Accept header; one that names the text format's version gets its type, others the contract's.
            arrived: When the request came, by `time.monotonic`; a rendering begun later than that will do.
        """
        content_type = CONTENT_TYPE_PLAIN_0_0_4 if "version=0.0.4" in accept else CONTRACT_TYPE
        with self._lock:
            began, payload = self._last
            if began < arrived:
                began = time.monotonic()
                payload = generate_latest(_registry())
                self._last = (began, payload)
        return payload, content_type


def _registry() -> CollectorRegistry:
    """The process's registry; under `PROMETHEUS_MULTIPROC_DIR` all processes' series with this process's services."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not folder or not os.path.isdir(folder) or not os.listdir(folder):
        return REGISTRY
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
    for collector in list(REGISTRY._collector_to_names):
        if isinstance(collector, ServiceCollector):
            registry.register(collector)
    return registry
