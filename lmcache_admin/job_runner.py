"""The jobs of one server: threads for those that run, places for those that wait, an hour for those that have ended."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lmcache_admin.deaths import Deaths
from lmcache_admin.errors import Failure
from lmcache_admin.jobs import CANCELLED, DONE, ENDED, FAILED, Job, Outcome
from lmcache_admin.serving.lanes import REPLACED_LIMIT, LaneLimits

logger = logging.getLogger(__name__)

#: Seconds that a job's result is kept.
KEPT_SECONDS = 3600.0
#: How many ended jobs are kept whose result somebody may come for, and how many bytes those results may have in all.
KEPT_JOBS, KEPT_BYTES = 10_000, 64 * 1024 * 1024
#: How many are shown whose result went to the request that waited for it.
SHOWN_JOBS = 100
#: How deaths of their threads are counted.
_KIND = "work"


class Busy(Failure):
    """503: neither a thread nor a place in the queue is left for this job."""

    def __init__(self, operation: str, reason: str, retry_after: int) -> None:
        body = {"error": f"Not served: {operation}", "message": reason}
        super().__init__(503, body, {"Retry-After": str(retry_after)})


@dataclass
class _Entry:
    job: Job
    act: Callable[[Job], Outcome] | None  # dropped once begun: it holds the request's body and the host's parts
    on_end: Callable[[Job], None] | None = None
    thread: threading.Thread | None = None


class Jobs:
    """Runs jobs, and keeps what came of them.

    A job has a thread of its own while it runs. Of the lane's threads one route may hold half; a job that has
    outlived the lane's deadline holds no place of the lane any more, but still one of its route.

    Args:
        limits: The lane `job`: threads, queue, deadline.
        deaths: Where a thread that has died during its job is noted.
    """

    def __init__(self, limits: LaneLimits, deaths: Deaths | None = None) -> None:
        self._limits = limits
        self._deaths = deaths or Deaths()
        self._deaths.expect(_KIND)
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}  # in the order of their coming
        self._queue: list[_Entry] = []
        self._running: dict[str, _Entry] = {}
        self._stopping = False

    def submit(self, job: Job, act: Callable[[Job], Outcome]) -> None:
        """Begin a job, or let it wait for a thread.

        Args:
            job: Not begun yet.
            act: Does it and returns its answer; whatever it raises is lost work.

        Raises:
            Busy: All threads and places are taken, or the server is stopping.
        """
        entry = _Entry(job, act)
        with self._lock:
            reason = self._refusal(job)
            if reason:
                raise Busy(job.operation, reason, self._limits.retry_after)
            self._forget_old()
            self._entries[job.id] = entry
            self._queue.append(entry)
            ready = self._take_ready()
        self._start(ready)

    def keep(self, job: Job, call: Callable[[Job], None]) -> None:
        """Keep a job's result for who comes for it, and have `call` called once it has ended; at once if it has."""
        job.kept = True
        with self._lock:
            entry = self._entries.get(job.id)
            if entry is not None and job.state not in ENDED:
                entry.on_end = call
                return
        call(job)

    def find(self, job_id: str) -> Job | None:
        """The job of that id; None if there is none, or its hour is over."""
        with self._lock:
            self._forget_old()
            entry = self._entries.get(job_id)
        return entry.job if entry else None

    def newest(self) -> list[Job]:
        """All jobs, newest first."""
        with self._lock:
            self._forget_old()
            return [entry.job for entry in reversed(self._entries.values())]

    def counts(self) -> dict[str, int]:
        """Jobs that have not ended by state; `late` are those among the running that have outlived the deadline."""
        with self._lock:
            late = sum(self._is_late(entry.job) for entry in self._running.values())
            return {"queued": len(self._queue), "running": len(self._running), "late": late}

    def cancel(self, job: Job) -> None:
        """End a waiting job now, a running one at its next safe point."""
        job.cancel()
        with self._lock:
            waiting = [entry for entry in self._queue if entry.job is job]
            for entry in waiting:
                self._queue.remove(entry)
        self._start(waiting)  # a thread of its own finds it cancelled and says so in the route's words

    def stop(self, seconds: float) -> None:
        """Take no more jobs, cancel all, and wait for those that run; may be called twice."""
        with self._lock:
            self._stopping = True
            open_jobs = [entry.job for entry in [*self._running.values(), *self._queue]]
        for job in open_jobs:
            self.cancel(job)
        end = time.monotonic() + seconds
        for job in open_jobs:
            if not job.wait(end - time.monotonic()):
                logger.warning("The job %s (%s) did not end within %.1f s", job.id, job.operation, seconds)

    def mend(self) -> None:
        """End the jobs whose thread has died: they have failed, and hold no place any more."""
        with self._lock:
            entries = list(self._running.values())
        for entry in entries:
            if entry.thread is not None and not entry.thread.is_alive() and entry.job.id in self._running:
                job = entry.job
                logger.error("The job %s (%s) was lost: its thread has died", job.id, job.operation)
                self._deaths.note(_KIND)
                self._deaths.replaced(_KIND)  # the next job has a thread of its own
                self._end(entry, None)

    # -- threads and places

    def _refusal(self, job: Job) -> str | None:
        if self._stopping:
            return "the server is stopping"
        share = self._limits.route_cap
        mine = [entry.job for entry in self._running.values() if entry.job.route == job.route]
        late = sum(map(self._is_late, mine))
        if late >= share:
            return f"{late} jobs of {job.route} have not ended within {self._limits.deadline:g} s; no more are begun"
        waiting = sum(entry.job.route == job.route for entry in self._queue)
        if len(mine) >= share and waiting >= self._limits.route_queue:
            return f"{len(mine)} jobs of {job.route} run and {waiting} wait, of which one route may have no more"
        if self._room() <= 0 and len(self._queue) >= self._limits.queue:
            return f"all job threads are busy and the queue is full ({self._limits.describe()})"
        return None

    def _room(self) -> int:
        late = sum(self._is_late(entry.job) for entry in self._running.values())
        return self._limits.threads - len(self._running) + min(late, REPLACED_LIMIT)

    def _is_late(self, job: Job) -> bool:
        return job.started_at is not None and time.monotonic() - job.started_at > self._limits.deadline

    def _take_ready(self) -> list[_Entry]:
        """Take the oldest waiting jobs out for which there is room; they count as running from here on."""
        ready: list[_Entry] = []
        for entry in list(self._queue):
            mine = sum(running.job.route == entry.job.route for running in self._running.values())
            if self._room() > 0 and mine < self._limits.route_cap:
                self._queue.remove(entry)
                self._running[entry.job.id] = entry
                ready.append(entry)
        return ready

    def _start(self, entries: list[_Entry]) -> None:
        for entry in entries:
            name = f"lmcache-admin-work-{entry.job.id}"
            try:
                thread = threading.Thread(target=self._run, args=(entry,), name=name, daemon=True)
                thread.start()
                entry.thread = thread
            except RuntimeError as error:  # the machine has no thread left: this one does it, if it is not stopping
                logger.error("A job runs in the thread that asked for it: %s", error)  # noqa: TRY400 - one line
                self._run(entry)

    def _run(self, entry: _Entry) -> None:
        job, outcome = entry.job, None
        job.start()
        act, entry.act = entry.act, None
        try:
            outcome = act(job) if act is not None else None
        except BaseException:  # a fault of ours: the next job must have its turn
            logger.exception("The job %s (%s) was lost", job.id, job.operation)
        del act
        self._end(entry, outcome)

    def _end(self, entry: _Entry, outcome: Outcome | None) -> None:
        job = entry.job
        if job.state not in ENDED:
            job.finish(_state(job, outcome), outcome)
        with self._lock:
            self._running.pop(job.id, None)
            on_end, entry.on_end = entry.on_end, None
            ready = self._take_ready()
        self._start(ready)
        if on_end is not None:
            on_end(job)

    # -- results

    def _forget_old(self) -> None:
        now = time.monotonic()
        for job in list(self._overdue(now)):
            del self._entries[job.id]

    def _overdue(self, now: float) -> Iterator[Job]:
        counts, size = {True: 0, False: 0}, 0
        for entry in reversed(list(self._entries.values())):
            job = entry.job
            if job.ended_at is None:
                continue
            counts[job.kept] += 1
            size += len(job.outcome.payload) if job.outcome else 0
            if now - job.ended_at > KEPT_SECONDS or counts[job.kept] > (KEPT_JOBS if job.kept else SHOWN_JOBS):
                yield job
            elif size > KEPT_BYTES:
                job.drop_result()


def _state(job: Job, outcome: Outcome | None) -> str:
    if outcome is None or outcome.status >= 500:
        return FAILED
    if outcome.status == 409 and job.cancel_asked:
        return CANCELLED
    return DONE if outcome.status < 400 else FAILED
