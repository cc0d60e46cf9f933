"""Who changed what, and who was refused: the last entries in memory."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any


@dataclass
class Entry:
    """One change, or one refused try.

    Args:
        id: Sequence number within this process.
        time: When it was asked for, UTC, ISO 8601.
        actor, role, address, uid: Who asked, as far as the connection tells.
        method, route, operation: What was asked for; `route` is the pattern.
        arguments: Query and JSON body, redacted.
        outcome: `intended` until it has ended, then `done`, `failed` or `refused`.
        status: HTTP status of the answer; None until then.
        duration_ms: From admission to answer; None until then.
    """

    id: int
    time: str
    actor: str
    role: str
    address: str
    uid: int | None
    method: str
    route: str
    operation: str
    arguments: Mapping[str, Any]
    outcome: str = "intended"
    status: int | None = None
    duration_ms: float | None = None


class Audit:
    """The newest entries, bounded; the intent is there before the change, the outcome after it.

    Args:
        limit: How many entries are kept.
    """

    def __init__(self, limit: int = 1000) -> None:
        self._entries: deque[Entry] = deque(maxlen=limit)
        self._ids = itertools.count(1)
        self._lock = threading.Lock()

    def intend(self, **facts: Any) -> Entry:
        """Record what is about to happen; see `Entry` for the facts."""
        entry = Entry(id=next(self._ids), time=datetime.now(timezone.utc).isoformat(timespec="milliseconds"), **facts)
        with self._lock:
            self._entries.append(entry)
        return entry

    def conclude(self, entry: Entry, outcome: str, status: int, duration_ms: float | None = None) -> None:
        """Record how it ended."""
        with self._lock:
            entry.outcome, entry.status, entry.duration_ms = outcome, status, duration_ms

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """Return the newest entries, newest first."""
        with self._lock:
            chosen = list(itertools.islice(reversed(self._entries), limit))
            return [asdict(entry) for entry in chosen]
