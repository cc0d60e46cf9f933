"""Long work: its progress, its safe points, its errors one by one, its result."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from lmcache_admin.declaration import Declaration
from lmcache_admin.errors import Failure

#: How many errors of single items a job keeps, and how many letters of each; it counts them all.
ERRORS_KEPT, LETTERS_KEPT = 100, 500

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
#: States of a job that has ended.
ENDED = (DONE, FAILED, CANCELLED)
STATES = (QUEUED, RUNNING, *ENDED)

Note = Callable[[Any, Any], None]


class Cancelled(Failure):
    """409: somebody cancelled the job; what it had done until then stays done."""

    def __init__(self, progress: str) -> None:
        super().__init__(409, {"error": "Cancelled"})
        self.text = f"cancelled after {progress}"

    def answer(self, declaration: Declaration, path: str) -> Mapping[str, Any] | str:
        return {"error": f"Failed to {declaration.operation}", "message": self.text}


@dataclass(frozen=True)
class Outcome:
    """How a job ended: the answer that its request gets, complete.

    Args:
        status: HTTP status.
        payload: The body's bytes.
        content_type: Of the body.
        headers: Further headers.
    """

    status: int
    payload: bytes
    content_type: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Work:
    """What a view of the lane `job` returns in place of a body.

    Args:
        run: Does it, and returns a body, or a body and a status.
    """

    run: Callable[[Job], Any]


class Job:
    """One piece of long work; any thread may report progress or ask for its end.

    Args:
        operation: What it does, as its route declares it.
        route: Method and pattern of the route that asked for it.
        actor: Who asked.
        note: Takes what was so before the work and what is so after it, for the audit.
        role: The least role that may ask for it.
        asked: Path and query that asked for it, shortened.

    Attributes:
        kept: Whether its result is kept for who comes for it; a request that waits takes it along itself.
        dropped: Whether its result is no longer there.
    """

    def __init__(
        self,
        operation: str,
        route: str,
        actor: str,
        note: Note | None = None,
        role: str = "viewer",
        asked: str = "",
    ) -> None:
        self.id = secrets.token_hex(8)
        self.operation, self.route, self.actor, self.role = operation, route, actor, role
        self.asked = asked[:LETTERS_KEPT]
        self.kept = self.dropped = False
        self._note = note
        self.state = QUEUED
        self.outcome: Outcome | None = None
        self.cancel_asked = False
        self.started_at: float | None = None  # by time.monotonic
        self._created = _now()
        self._started: str | None = None
        self._ended: str | None = None
        self._ended_at: float | None = None
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._done = 0
        self._of: int | None = None
        self._unit = ""
        self._errors: list[dict[str, str]] = []
        self._error_count = 0

    @classmethod
    def detached(cls) -> Job:
        """A job that nobody lists or waits for: to call an operation by itself."""
        return cls("", "", "")

    # -- for the work

    def begin(self, of: int | None, unit: str) -> None:
        """Say how much there is to do: so many of what; None where nobody knows."""
        with self._lock:
            self._done, self._of, self._unit = 0, of, unit
        self.checkpoint()

    def advance(self, count: int = 1) -> None:
        """Count what was done; a safe point as well.

        Raises:
            Cancelled: Its end was asked for.
        """
        with self._lock:
            self._done += count
        self.checkpoint()

    def checkpoint(self) -> None:
        """A safe point: the work may end here.

        Raises:
            Cancelled: Its end was asked for.
        """
        if self.cancel_asked:
            raise Cancelled(self._progress_text())

    def fail(self, item: str, reason: str) -> None:
        """Note that one item failed; the job goes on."""
        with self._lock:
            self._error_count += 1
            if len(self._errors) < ERRORS_KEPT:
                self._errors.append({"item": item[:LETTERS_KEPT], "error": reason[:LETTERS_KEPT]})

    def note_change(self, before: Any, after: Any) -> None:
        """Tell the audit what was so before the work and what is so after it."""
        if self._note is not None:
            self._note(before, after)

    # -- for whoever runs it

    def start(self) -> None:
        """Note that a thread has begun it."""
        with self._lock:
            self.state, self._started, self.started_at = RUNNING, _now(), time.monotonic()

    def finish(self, state: str, outcome: Outcome | None) -> None:
        """Note how it ended, and wake whoever waits."""
        with self._lock:
            self.state, self.outcome = state, outcome
            self._ended, self._ended_at = _now(), time.monotonic()
            self._note = None
        self._end.set()

    def drop_result(self) -> None:
        """Keep the status and forget the body."""
        with self._lock:
            if self.outcome is not None:
                self.outcome, self.dropped = replace(self.outcome, payload=b""), True

    # -- for everybody

    def cancel(self) -> None:
        """Ask for its end at the next safe point."""
        self.cancel_asked = True

    def wait(self, seconds: float) -> bool:
        """Wait for its end; whether it has ended."""
        return self._end.wait(max(0.0, seconds))

    @property
    def ended_at(self) -> float | None:
        """When it ended, by `time.monotonic`; None until then."""
        return self._ended_at

    def describe(self) -> dict[str, Any]:
        """Return the job as `/jobs` shows it, without its result."""
        with self._lock:
            return {
                "id": self.id,
                "operation": self.operation,
                "route": self.route,
                "asked": self.asked,
                "actor": self.actor,
                "state": self.state,
                "created": self._created,
                "started": self._started,
                "ended": self._ended,
                "cancel_requested": self.cancel_asked,
                "progress": self._progress(),
                "error_count": self._error_count,
                "errors": list(self._errors),
                "status": self.outcome.status if self.outcome else None,
            }

    def _progress(self) -> dict[str, Any]:
        rate = remaining = None
        if self.started_at is not None:
            seconds = (self._ended_at or time.monotonic()) - self.started_at
            rate = self._done / seconds if seconds > 0 and self._done else None
            if rate and self._of is not None and self.state == RUNNING:
                remaining = max(self._of - self._done, 0) / rate
        return {
            "done": self._done,
            "of": self._of,
            "unit": self._unit,
            "rate_per_second": None if rate is None else round(rate, 3),
            "remaining_seconds": None if remaining is None else round(remaining, 3),
        }

    def _progress_text(self) -> str:
        with self._lock:
            of = "" if self._of is None else f" of {self._of}"
            return f"{self._done}{of} {self._unit}".rstrip()


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
