"""Readiness: the data path is probed in the background, and the last results are shown with their age."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

#: Seconds between probes, and how long one may take before it counts as failed.
INTERVAL = 10.0
DEADLINE = 5.0
#: What the names of backends outside the process begin with.
SHARED = "RemoteBackend"

Probes = Callable[[], Mapping[str, Callable[[], tuple[str, str]]]]


@dataclass
class Check:
    """The last result of one named check.

    Args:
        name: A backend's name, or `engine`.
        status: `ok`, `failed` or `skipped`.
        message: What was wrong.
        ended: By `time.monotonic`.
        duration: Seconds.
        failures: How many results in a row were failures.
    """

    name: str
    status: str
    message: str
    ended: float
    duration: float
    failures: int

    @property
    def weight(self) -> int:
        """How many failures in a row count: of a store that all workers share, one at most.

        Its loss makes every worker slower, and none of them unable to serve; to take all of them out of service for
        it would make an outage of that.
        """
        return min(self.failures, 1) if self.name.startswith(SHARED) else self.failures

    def describe(self, now: float) -> dict[str, Any]:
        """As `/readyz` shows it."""
        return {
            "name": self.name,
            "status": self.status,
            "age_seconds": round(now - self.ended, 3),
            "duration_ms": round(self.duration * 1000, 3),
            "message": self.message,
        }


class Health:
    """Runs the probes and remembers what they said; reading never probes.

    Args:
        engine_state: Returns `absent`, `starting` or `ready`; must not block.
        needs_engine: Whether a process of this kind and role is failed for want of an engine.
        probes: Returns check name -> probe; called in the background only.
        deadline: Seconds after which a probe that has not come back counts as failed.

    Attributes:
        troubles: Each returns what is wrong with the service itself, name -> message; it degrades, and never fails.
    """

    def __init__(
        self, engine_state: Callable[[], str], needs_engine: bool, probes: Probes, deadline: float = DEADLINE
    ) -> None:
        self._engine_state = engine_state
        self._needs_engine = needs_engine
        self._probes = probes
        self._deadline = deadline
        self._checks: dict[str, Check] = {}
        self._running: tuple[str, float] | None = None
        self._probed = False
        self._lock = threading.Lock()
        self.troubles: list[Callable[[], Mapping[str, str]]] = []

    def probe(self) -> None:
        """Run every probe once; one that raises is a failure, one that hangs is seen by its age."""
        if self._engine_state() != "ready":
            with self._lock:
                self._checks.clear()
                self._probed = True
            return
        probes = self._named("probes", self._probes)
        for name, call in probes.items():
            self._named(name, call)
        with self._lock:
            self._checks = {name: c for name, c in self._checks.items() if name in probes or name == "probes"}
            self._probed = True

    def _named(self, name: str, call: Callable[[], Any]) -> Any:
        began = time.monotonic()
        self._running = (name, began)
        listing = name == "probes"
        answer: Any = {}
        try:
            answer = call()
            status, message = ("ok", "") if listing else answer
        except BaseException as error:  # noqa: BLE001 - whatever a host's data path raises is the finding itself
            status, message = "failed", f"{type(error).__name__}: {error}"
        self._running = None
        if not listing or status == "failed":
            self._keep(name, status, message, began)
        else:
            self._checks.pop(name, None)
        return answer

    def _keep(self, name: str, status: str, message: str, began: float) -> None:
        with self._lock:
            before = self._checks.get(name)
            failures = (before.failures if before else 0) + 1 if status == "failed" else 0
            now = time.monotonic()
            self._checks[name] = Check(name, status, message, now, now - began, failures)

    def report(self) -> dict[str, Any]:
        """Return `{"status", "checks"}` from the last results."""
        now = time.monotonic()
        with self._lock:
            checks = [check.describe(now) for check in self._checks.values()]
            failures = max((check.weight for check in self._checks.values()), default=0)
        name, began = self._running or ("", now)
        late = now - began
        if late > self._deadline:
            checks = [check for check in checks if check["name"] != name]
            count = 2 if late > self._deadline + INTERVAL else 1
            hanging = Check(name, "failed", f"no answer for {late:.1f} s", now, late, count)
            checks.append(hanging.describe(now))
            failures = max(failures, hanging.weight)
        wrong = {name: text for source in self.troubles for name, text in source().items()}
        checks += [Check(name, "failed", text, now, 0.0, 1).describe(now) for name, text in wrong.items()]
        status = self._status(failures)
        return {"status": "degraded" if wrong and status == "ok" else status, "checks": checks}

    def _status(self, failures: int) -> str:
        state = self._engine_state()
        if state == "absent":
            return "failed" if self._needs_engine else "ok"
        if state == "starting" or not (self._probed or failures):
            return "starting"
        if failures >= 2:
            return "failed"
        return "degraded" if failures else "ok"
