"""The data path's health probe: one reserved chunk through one backend and out again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lmcache_admin.engine.backends.protocol import Backend
from lmcache_admin.engine.chunks import PROBE_MODEL, Chunk, ChunkKey, Layout


@dataclass
class ProbeResult:
    """Outcome of a probe.

    Args:
        name: The backend's name.
        status: `ok`, `failed` or `skipped`.
        message: Why it failed or was skipped; empty when ok.
        durations_ms: Step (store, lookup, retrieve, remove) to milliseconds, of the steps that were taken.
    """

    name: str
    status: str
    message: str = ""
    durations_ms: dict[str, float] = field(default_factory=dict)

    @property
    def duration_ms(self) -> float:
        """Milliseconds of all steps."""
        return sum(self.durations_ms.values())


def probe(name: str, backend: Backend, layout: Layout) -> ProbeResult:
    """Take a reserved chunk of one token through a backend; each probe has a key of its own."""
    key = ChunkKey(PROBE_MODEL, 1, os.getpid(), int.from_bytes(os.urandom(7), "big"), layout.dtype)
    payload = os.urandom(layout.nbytes(1))
    result = ProbeResult(name, "ok")
    steps: dict[str, Callable[[], bool]] = {
        "store": lambda: backend.put(key, Chunk(layout, 1, payload)),
        "lookup": lambda: backend.contains(key),
        "retrieve": lambda: (found := backend.get(key)) is not None and bytes(found.payload) == payload,
        "remove": lambda: backend.remove(key),
    }
    for step, act in steps.items():
        began = time.monotonic()
        done = act()
        result.durations_ms[step] = (time.monotonic() - began) * 1000
        if not done:
            result.status, result.message = "failed", f"{step} of the probe's chunk failed"
            break
    if result.status == "failed":
        backend.remove(key)
    return result
