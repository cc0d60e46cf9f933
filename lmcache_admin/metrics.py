"""Measurements of the service itself: its requests, its lanes, its readiness, its engine's backends."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from lmcache_admin.serving.lanes import WAIT_BOUNDS

if TYPE_CHECKING:
    from lmcache_admin.serving.lanes import LaneCounters

#: Upper bounds of the buckets of request durations, seconds.
BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0)

#: Field of `LaneCounters` -> (metric, what it says).
LANE_GAUGES = {
    "threads": ("lmcache_admin_lane_threads", "Threads of this lane."),
    "busy": ("lmcache_admin_lane_in_flight", "Requests of this lane that a thread is working on."),
    "queued": ("lmcache_admin_lane_queue_depth", "Requests that wait for a thread of this lane."),
    "queue_limit": ("lmcache_admin_lane_queue_limit", "How many may wait."),
    "stuck": ("lmcache_admin_lane_stuck_threads", "Threads that were written off because their call never returned."),
}
LANE_COUNTERS = {
    "served": ("lmcache_admin_lane_served", "Requests that this lane answered."),
    "rejected": (
        "lmcache_admin_lane_rejected",
        "Requests that were refused: no room, a lost share, a wait in vain.",
    ),
    "timed_out": ("lmcache_admin_lane_timed_out", "Requests whose deadline passed."),
}
#: Figures of a backend that only rise; the others are gauges.
BACKEND_COUNTERS = ("hits", "misses", "puts", "put_failures", "evictions", "corrupt", "newer_format")


class Counted(Protocol):
    """What counts something by kind."""

    def counts(self) -> Mapping[str, int]:
        """Return kind -> number."""


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
            labels = [server, method, route, str(status)]
            family.add_metric(labels, _cumulated(BUCKETS, cells[:-1]), cells[-1])
        yield family


class ServiceMetrics:
    """The series of one server, named `lmcache_admin_*`.

    Args:
        server: Tells the servers of one process apart.
        requests: Its request counts.
        health: Returns the report of `/readyz`.
        backends: Returns backend name -> figures, where the host tells any; must not block.
        jobs: Counts by state the jobs that have not ended.
        deaths: Counts by kind the threads that have died.
        audit: Counts by reason the entries that its file does not have.
    """

    def __init__(
        self,
        server: str,
        requests: RequestCounts,
        health: Callable[[], Mapping[str, Any]],
        backends: Callable[[], Mapping[str, Mapping[str, float]]],
        jobs: Counted,
        deaths: Counted,
        audit: Counted,
    ) -> None:
        self._server = server
        self._requests = requests
        self._health = health
        self._backends = backends
        self._jobs = jobs
        self._deaths = deaths
        self._audit = audit
        #: Returns lane name -> counters; set when a server with lanes serves this application.
        self.lanes: Callable[[], Mapping[str, LaneCounters]] | None = None

    def families(self) -> Iterator[Metric]:
        """Yield every series."""
        yield from self._requests.families(self._server)
        yield from self._readiness()
        yield from self._cache()
        yield from self._long_work()
        yield from self._lost_threads()
        yield from self._lost_entries()
        if self.lanes is not None:
            yield from self._lane_families(self.lanes())

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

    def _cache(self) -> Iterator[Metric]:
        backends = self._backends()
        for figure in sorted({figure for figures in backends.values() for figure in figures}):
            kind = CounterMetricFamily if figure in BACKEND_COUNTERS else GaugeMetricFamily
            family = kind(
                f"lmcache_admin_backend_{figure}", f"Of each backend: {figure}.", labels=["server", "backend"]
            )
            for backend, figures in backends.items():
                if figure in figures:  # a store that others share does not tell how much it holds
                    family.add_metric([self._server, backend], figures[figure])
            yield family

    def _long_work(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "lmcache_admin_jobs", "Jobs that wait or run; late: past the deadline.", labels=["server", "state"]
        )
        for state, count in self._jobs.counts().items():
            family.add_metric([self._server, state], count)
        yield family

    def _lost_threads(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "lmcache_admin_thread_deaths",
            "Threads of the service that have died; others took their places.",
            labels=["server", "thread"],
        )
        for kind, count in self._deaths.counts().items():
            family.add_metric([self._server, kind], count)
        yield family

    def _lost_entries(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "lmcache_admin_audit_lost",
            "Entries that the audit's file does not have: it took no line, or there was a flood of refused tries.",
            labels=["server", "reason"],
        )
        for reason, count in self._audit.counts().items():
            family.add_metric([self._server, reason], count)
        yield family

    def _lane_families(self, lanes: Mapping[str, LaneCounters]) -> Iterator[Metric]:
        for table, kind in ((LANE_GAUGES, GaugeMetricFamily), (LANE_COUNTERS, CounterMetricFamily)):
            for field, (name, text) in table.items():
                family = kind(name, text, labels=["server", "lane"])
                for lane, counters in lanes.items():
                    family.add_metric([self._server, lane], getattr(counters, field))
                yield family
        waiting = HistogramMetricFamily(
            "lmcache_admin_lane_wait_seconds",
            "How long requests waited for a thread of this lane.",
            labels=["server", "lane"],
        )
        for lane, counters in lanes.items():
            buckets = _cumulated(WAIT_BOUNDS, counters.waited_buckets)
            waiting.add_metric([self._server, lane], buckets, counters.waited_seconds)
        yield waiting


def _cumulated(bounds: tuple[float, ...], counts: list[float] | tuple[int, ...]) -> list[tuple[str, float]]:
    """Counts per bucket as Prometheus wants them: each bucket holds those below it, the last is +Inf."""
    total, buckets = 0.0, []
    for bound, count in zip([*map(str, bounds), "+Inf"], counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets
