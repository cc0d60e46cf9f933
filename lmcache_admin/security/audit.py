"""Who changed what, and who was refused: in memory, and in a file of chained lines where a setting names one."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any
from uuid import uuid4

from lmcache_admin.errors import Failure
from lmcache_admin.security.audit_file import PATIENCE, AuditFile
from lmcache_admin.security.audit_values import REFUSED, plain
from lmcache_admin.security.floods import Flood

logger = logging.getLogger(__name__)

#: Seconds that the line of a refused try waits for the file, and how long after a failure others do not try.
_IMPATIENCE, _REST = 0.05, 1.0
#: Seconds between two log lines about a file that cannot be written.
_QUIET = 60.0
#: Refused tries that are recorded one by one: so many at once, then so many a second.
_BURST, _RATE = 100.0, 2.0
#: Refused tries of strangers that memory keeps.
_STRANGERS = 200
#: What the outcome's line tells, and that of the intent cannot.
_LATER = ("outcome", "status", "duration_ms", "before", "after")


@dataclass
class Entry:
    """One change, or one refused try.

    Args:
        time: When it was asked for, UTC, ISO 8601.
        actor, role, address: Who asked, and from where.
        uid, gid, pid: The process that asked, as far as the kernel tells.
        method, route, operation: What was asked for; `route` is the pattern.
        arguments: Query and JSON body, redacted.
        id: The same in the line of the intent and in that of the outcome.
        outcome: `intended` until it has ended, then `done`, `failed` or `refused`.
        status: HTTP status of the answer; None until then.
        duration_ms: From admission to answer; None until then.
        before, after: What was so, redacted, where the operation tells.
    """

    time: str
    actor: str
    role: str
    address: str
    uid: int | None
    method: str
    route: str
    operation: str
    arguments: Mapping[str, Any]
    gid: int | None = None
    pid: int | None = None
    id: str = field(default_factory=lambda: uuid4().hex[:16])
    outcome: str = "intended"
    status: int | None = None
    duration_ms: float | None = None
    before: Any = None
    after: Any = None


_Numbered = tuple[int, Entry]


class Audit:
    """The intent is there before the change, the outcome after it.

    Args:
        file: Where every line goes as well; None: memory only.
        required: Whether a change is refused whose intent the file does not take.
        limit: How many entries memory keeps.

    Attributes:
        failures: Lines that the file has not taken.
    """

    def __init__(self, file: AuditFile | None = None, required: bool = True, limit: int = 1000) -> None:
        self.failures = 0
        self._file, self._required = file, required
        self._lock = threading.Lock()
        self._problem: str | None = None
        self._told = float("-inf")
        # what those do who have a role must not go unseen because strangers make a noise
        self._floods = {known: Flood(_BURST, _RATE) for known in (True, False)}
        self._entries = {True: deque[_Numbered](maxlen=limit), False: deque[_Numbered](maxlen=_STRANGERS)}
        self._count = itertools.count()
        self._failed = float("-inf")
        self._unrecorded = self._flooded = 0  # refused tries since the last line, and in all
        if file is not None and file.trouble is not None:
            self._fail(file.trouble)

    @property
    def problems(self) -> dict[str, str]:
        """Why the file takes no lines; empty while it does."""
        return {"audit_file": self._problem} if self._problem else {}

    def intend(self, *, destructive: bool = False, **facts: Any) -> Entry:
        """Record what is about to happen; see `Entry` for the facts.

        Args:
            destructive: Whether the line must be on the medium before the change begins.

        Raises:
            Failure: 503, the file does not take the line, and every change has to be in it.
        """
        entry = self._entry(facts)
        if not self._write(_intent(entry), destructive) and self._required:
            entry.outcome, entry.status = "refused", 503
            message = f"The audit cannot be written ({self._problem}); without it nothing is changed."
            raise Failure(503, {"error": f"Not done: {entry.operation}", "message": message}, {"Retry-After": "60"})
        return entry

    def note(self, entry: Entry, before: Any, after: Any) -> None:
        """Note what was so before a change and what is after it; the outcome's line will tell."""
        with self._lock:
            entry.before, entry.after = plain(before), plain(after)

    def conclude(self, entry: Entry, outcome: str, status: int, duration_ms: float | None = None) -> None:
        """Record how it ended."""
        with self._lock:
            entry.outcome, entry.status, entry.duration_ms = outcome, status, duration_ms
        told = {"kind": "outcome", "id": entry.id, "time": _now(), "outcome": outcome, "status": status}
        changed = {key: value for key in ("before", "after") if (value := getattr(entry, key)) is not None}
        self._write({**told, "duration_ms": duration_ms, **changed})

    def refuse(self, status: int, *, known: bool = False, **facts: Any) -> None:
        """Record a try that was refused; of a flood of them the first, and the number of the others.

        Args:
            status: HTTP status of the answer.
            known: Whether it is known who tried.
            facts: See `Entry`.
        """
        if not self._floods[known].admits():
            with self._lock:
                self._unrecorded += 1
                self._flooded += 1
            return
        entry = self._entry({**facts, "arguments": plain(facts["arguments"], REFUSED)}, known)
        entry.outcome, entry.status = "refused", status
        if self._problem and time.monotonic() - self._failed < _REST:  # nobody waits because strangers are refused
            with self._lock:
                self._unrecorded += 1
            return
        refused = {**_intent(entry), "kind": "refused", "outcome": "refused", "status": status}
        self._write(refused, patience=_IMPATIENCE)

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """Return the newest entries, newest first: of the file if there is one, of all processes that share it."""
        if self._file is not None:
            try:
                return _entries(self._file.newest(2 * limit))[:limit]
            except OSError as error:
                self._fail(error)
        with self._lock:
            newest_first = (reversed(entries) for entries in self._entries.values())
            merged = heapq.merge(*newest_first, key=lambda numbered: -numbered[0])
            return [asdict(entry) for _, entry in itertools.islice(merged, limit)]

    def counts(self) -> dict[str, int]:
        """Entries that the file does not have, by reason."""
        return {"file": self.failures, "flood": self._flooded}

    @property
    def kept(self) -> str:
        """Where entries are kept, in words."""
        return "in memory" if self._file is None else "in a file"

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _entry(self, facts: Mapping[str, Any], known: bool = True) -> Entry:
        entry = Entry(time=_now(), **{**facts, "arguments": plain(facts["arguments"])})
        with self._lock:
            self._entries[known].append((next(self._count), entry))
        return entry

    def _write(self, record: Mapping[str, Any], sync: bool = False, patience: float = PATIENCE) -> bool:
        if self._file is None:
            return True
        with self._lock:
            unrecorded, self._unrecorded = self._unrecorded, 0
        try:
            self._file.append({**record, "unrecorded": unrecorded} if unrecorded else record, sync, patience)
        except OSError as error:
            with self._lock:
                self._unrecorded += unrecorded
            self._fail(error)
            return False
        if self._problem:
            logger.warning("The audit is written again; %d lines were not", self.failures)
        self._problem = None
        return True

    def _fail(self, error: OSError) -> None:
        self.failures += 1
        self._failed = time.monotonic()
        self._problem = error.strerror or str(error)
        if time.monotonic() - self._told >= _QUIET:
            self._told = time.monotonic()
            logger.error("The audit cannot be written: %s", self._problem)


def _intent(entry: Entry) -> dict[str, Any]:
    facts = asdict(entry)
    for later in _LATER:
        del facts[later]
    return {"kind": "intent", **facts}


def _entries(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join each intent with its outcome; records and entries newest first."""
    ended: dict[str, dict[str, Any]] = {}
    entries = []
    for record in records:
        if record.get("kind") == "outcome":
            ended[record["id"]] = {key: record.get(key) for key in _LATER}
            continue
        open_end = {"outcome": "intended", "status": None, "duration_ms": None}
        facts = {key: value for key, value in record.items() if key not in ("kind", "prev", "hash")}
        entries.append({**open_end, **facts, **ended.get(record.get("id", ""), {})})
    return entries


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
