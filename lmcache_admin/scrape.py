"""One scrape of the process: the host's series and those of every server of ours in it.

Process-wide by nature: there is one metrics registry a process, and the servers' series carry the label `server`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable

from prometheus_client import REGISTRY, CollectorRegistry, values
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from lmcache_admin.exposition import LabelMask, Mask
from lmcache_admin.metrics import ServiceMetrics

logger = logging.getLogger(__name__)

#: The type that the contract has, and the one that the exposition format asks for.
CONTRACT_TYPE = "text/plain; charset=utf-8"
EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Servers(Collector):
    """The servers of this process that are running; each family appears once, with the samples of all of them."""

    def __init__(self) -> None:
        self._running: list[ServiceMetrics] = []
        self._lock = threading.Lock()

    def add(self, metrics: ServiceMetrics) -> None:
        """Show a server's series from now on."""
        with self._lock:
            self._running.append(metrics)
            if len(self._running) == 1:
                REGISTRY.register(self)

    def remove(self, metrics: ServiceMetrics) -> None:
        """Show a server's series no longer."""
        with self._lock:
            if metrics not in self._running:  # in a forked child, where the parent's are forgotten
                return
            self._running.remove(metrics)
            if not self._running:
                REGISTRY.unregister(self)

    def forget(self) -> None:
        """In a forked child: the parent's servers are not here. No lock may be taken."""
        self._running = []
        self._lock = threading.Lock()

    def collect(self) -> Iterable[Metric]:
        """Return every family, merged over the servers."""
        merged: dict[str, Metric] = {}
        for metrics in list(self._running):
            for family in metrics.families():
                merged.setdefault(family.name, family)
                if merged[family.name] is not family:
                    merged[family.name].samples.extend(family.samples)
        return merged.values()

    def describe(self) -> Iterable[Metric]:
        """Return nothing: which families there are is known when they are collected."""
        return []


_IN_MEMORY = values.MutexValue
SERVERS = Servers()
os.register_at_fork(after_in_child=SERVERS.forget)


class Scrape:
    """Renders the metrics of the process: one rendering at a time, shared by those that waited for it.

    Args:
        mask: Masks the value of a label under the label's name.
    """

    def __init__(self, mask: Mask) -> None:
        self._labels = LabelMask(mask)
        self._lock = threading.Lock()
        self._last: tuple[float, bytes] = (float("-inf"), b"")

    def render(self, accept: str, arrived: float) -> tuple[bytes, str]:
        """Return the exposition (text format 0.0.4) and its content type.

        Args:
            accept: The Accept header; one that names the text format's version gets its type, others the contract's.
            arrived: When the request came, by `time.monotonic`; a rendering begun later than that will do.
        """
        content_type = EXPOSITION_TYPE if "version=0.0.4" in accept else CONTRACT_TYPE
        with self._lock:
            began, payload = self._last
            if began < arrived:
                began = time.monotonic()
                payload = self._labels.apply(_exposition())
                self._last = (began, payload)
        return payload, content_type


def _exposition() -> bytes:
    """The process's series; where it counts into files for several processes, those of all of them."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    # The variable alone says nothing: LMCache sets it after prometheus_client has chosen to count in memory.
    if not folder or values.ValueClass is _IN_MEMORY:
        return generate_latest(REGISTRY)
    try:
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
        registry.register(SERVERS)
        return generate_latest(registry)
    except Exception as error:  # noqa: BLE001 - a file of another process may be broken in any way; ours are shown
        logger.warning("The metrics of all processes in %r cannot be read: %r", folder, error)
        return generate_latest(REGISTRY)
