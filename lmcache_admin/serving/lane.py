"""One lane at work: its queue, each route's share, its deadline."""

from __future__ import annotations

import time
from collections import deque

from lmcache_admin.deaths import Deaths
from lmcache_admin.serving import reasons
from lmcache_admin.serving.call import DONE, QUEUED, RUNNING, WRITTEN_OFF, Call
from lmcache_admin.serving.crew import Allowance, Crew, RunErrand
from lmcache_admin.serving.lanes import QUICK_SECONDS, LaneCounters, LaneLimits, WaitingTimes
from lmcache_admin.serving.workers import Worker


class Lane(Crew):
    """Threads, queue and counters of one lane."""

    def __init__(self, limits: LaneLimits, allowance: Allowance, run_errand: RunErrand, deaths: Deaths) -> None:
        super().__init__(limits, allowance, run_errand, deaths)
        self.busy = 0
        self.stuck = 0
        self.served = 0
        self.served_by_loop = 0  # changed only by the thread that holds the loop, without the lock
        self.rejected = 0
        self.timed_out = 0
        self._waited = WaitingTimes()
        self._queue: deque[Call] = deque()
        self._open: dict[Call, Worker | None] = {}  # unanswered calls, in the order of their deadlines

    # -- calls in

    def submit(self, call: Call, now: float) -> str | None:
        """Give a call to a thread or to the queue; the reason if neither has room."""
        call.deadline = now + self.limits.deadline
        use = call.use
        with self._lock:
            if self._idle and use.running < use.cap:
                self._hand_to(self._idle.pop(), call, now)
                return None
            queued = len(self._queue)
            reason = reasons.STOPPING if self._stopping else reasons.no_room(self.limits, call.route, use, queued)
            if reason:
                self.rejected += 1
                return reason
            call.state = QUEUED
            use.waiting += 1
            self._queue.append(call)
            self._open[call] = None
            return None

    def adopt(self, call: Call) -> None:
        """Count a quick call that holds the thread of the former loop like one of this lane's own."""
        with self._lock:
            call.use.slow = True
            if call.state != DONE:
                call.deadline = call.submitted + self.limits.deadline
                self._begin(call, None, call.submitted)

    def _hand_to(self, worker: Worker, call: Call, now: float) -> None:
        self._begin(call, worker, now)
        worker.call = call
        worker.wake.release()

    def _begin(self, call: Call, worker: Worker | None, now: float) -> None:
        call.state = RUNNING
        call.started = now
        call.use.running += 1
        self.busy += 1
        self._open[call] = worker
        self._waited.count(now - call.submitted)

    # -- calls out

    def take_up(self, worker: Worker) -> Call | None:
        """The first call for a new thread, or None when it has to wait for one."""
        with self._lock:
            if self._stopping:
                self._end(worker)
                return None
            return self._next_for(worker)

    def done(self, call: Call, worker: Worker | None) -> Call | None:
        """Count an answered call.

        Returns:
            The next call for this thread; None when there is none or when the thread is to end.
        """
        now = time.monotonic()
        with self._lock:
            written_off = call.state == WRITTEN_OFF
            known = call.state in (RUNNING, WRITTEN_OFF)
            if call.route.quick and now - call.started < QUICK_SECONDS:
                call.use.slow = False
            if known:
                self._release(call, written_off)
            else:
                self.served += 1  # it held the loop, and ended before this lane heard of it
            call.state = DONE
            if worker is not None and not self._ends(worker, call, written_off):
                return self._next_for(worker)
            self._pass_on(now)
            return None

    def _release(self, call: Call, written_off: bool) -> None:
        call.use.running -= 1
        self._open.pop(call, None)
        if written_off:
            call.use.stuck -= 1
            self.stuck -= 1
        else:
            self.busy -= 1
            self.served += 1

    def _ends(self, worker: Worker, call: Call, written_off: bool) -> bool:
        if written_off and call.replaced:
            self._allowance.give_back()
            worker.ended = True
        elif self._stopping:
            self._end(worker)
        elif written_off:  # nobody took its place: it is one of the lane's threads again
            self.threads += 1
            self._workers.add(worker)
        return worker.ended

    def _next_for(self, worker: Worker) -> Call | None:
        call = self._pull()
        if call is None:
            self._idle.append(worker)
        else:
            self._begin(call, worker, time.monotonic())
        return call

    def _pull(self) -> Call | None:
        """The oldest waiting call whose route has room; those of a full route are passed over."""
        for index, call in enumerate(self._queue):
            if call.use.running < call.use.cap:
                del self._queue[index]
                call.use.waiting -= 1
                return call
        return None

    def _pass_on(self, now: float) -> None:
        while self._idle:
            call = self._pull()
            if call is None:
                return
            self._hand_to(self._idle.pop(), call, now)

    # -- deadlines

    def next_deadline(self) -> float | None:
        """When the oldest open call has to be given up."""
        if not self._open:
            return None
        with self._lock:
            for call in self._open:
                return call.deadline
        return None

    def expire(self, now: float, replace: bool = True) -> list[Call]:
        """Take out the calls whose time is over; the running ones are written off and replaced.

        With the last of a route's share its queued calls go too: nobody would begin them.
        """
        with self._lock:
            over: list[Call] = []
            for call in self._open:
                if call.deadline > now:
                    break
                over.append(call)
            for call in over:
                self._give_up(call, self._open.pop(call), replace)
            behind = [call for call in self._queue if call.use.written_off]
            for call in behind:
                del self._open[call]
                self._unqueue(call, reasons.written_off(self.limits, call.route, call.use))
            return over + behind

    def _unqueue(self, call: Call, reason: str) -> None:
        call.refused = reason
        self._queue.remove(call)
        call.use.waiting -= 1
        self.rejected += 1
        self._waited.count(time.monotonic() - call.submitted)

    def _give_up(self, call: Call, worker: Worker | None, replace: bool) -> None:
        if call.state == QUEUED:
            self._unqueue(call, reasons.waited_in_vain(self.limits, call.route, call.use))
            return
        call.state = WRITTEN_OFF
        call.use.stuck += 1
        self.busy -= 1
        self.stuck += 1
        self.timed_out += 1
        if worker is not None:
            self.threads -= 1
            self._workers.discard(worker)
            call.replaced = replace and self._allowance.take()
            if call.replaced:
                self._run_errand(lambda: self._replace(call))

    def bury(self) -> list[Call]:
        """Have dead threads replaced; returns the calls that they had in hand."""
        with self._lock:
            dead = self.find_dead()
            orphans = [call for call, worker in self._open.items() if worker in dead]
            for call in orphans:
                self._release(call, written_off=False)
                call.state = DONE
        self.replace_dead(dead)
        return orphans

    # -- figures

    def open_calls(self) -> int:
        """Calls that wait or run and are not written off."""
        return len(self._open)

    def counters(self) -> LaneCounters:
        """The lane at this moment."""
        with self._lock:
            return LaneCounters(
                threads=self.threads,
                busy=self.busy,
                queued=len(self._queue),
                queue_limit=self.limits.queue,
                waited_seconds=self._waited.seconds,
                waited_count=sum(self._waited.buckets),
                waited_buckets=tuple(self._waited.buckets),
                served=self.served + self.served_by_loop,
                served_by_loop=self.served_by_loop,
                rejected=self.rejected,
                timed_out=self.timed_out,
                stuck=self.stuck,
            )
