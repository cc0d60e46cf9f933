"""The threads of a lane: started, replaced when their call never returns or when they die, and sent home."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from lmcache_admin.serving.call import DONE
from lmcache_admin.serving.lanes import REPLACED_LIMIT, LaneLimits
from lmcache_admin.serving.workers import Worker

if TYPE_CHECKING:
    from lmcache_admin.deaths import Deaths
    from lmcache_admin.serving.call import Call

logger = logging.getLogger(__name__)

RunErrand = Callable[[Callable[[], None]], None]


class Allowance:
    """How many written-off threads are replaced at the moment; one for all lanes of a server."""

    def __init__(self, limit: int = REPLACED_LIMIT) -> None:
        self._left = limit
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Whether one more may be replaced."""
        with self._lock:
            if self._left < 1:
                return False
            self._left -= 1
            return True

    def give_back(self) -> None:
        """A replaced call has returned and its thread has ended."""
        with self._lock:
            self._left += 1


class Crew(ABC):
    """Who works in a lane.

    Args:
        limits: Of the lane.
        allowance: Shared by all lanes of a server.
        run_errand: Has another thread do what might block, such as starting a thread.
        deaths: Where a thread that has died is noted.
    """

    def __init__(self, limits: LaneLimits, allowance: Allowance, run_errand: RunErrand, deaths: Deaths) -> None:
        self.limits = limits
        self.threads = 0  # usable ones: written-off threads are not counted
        self._allowance = allowance
        self._run_errand = run_errand
        self._deaths = deaths
        self._lock = threading.Lock()
        self._idle: list[Worker] = []
        self._workers: set[Worker] = set()
        self._number = 0
        self._vacant = 0  # places of threads that have died
        self._short = False
        self._stopping = False
        deaths.expect(limits.name)

    @abstractmethod
    def take_up(self, worker: Worker) -> Call | None:
        """The first call for a new thread, or None when it has to wait for one."""

    @abstractmethod
    def done(self, call: Call, worker: Worker | None) -> Call | None:
        """Count an answered call.

        Returns:
            The next call for this thread; None when there is none or when the thread is to end.
        """

    def start(self) -> None:
        """Start the lane's threads; RuntimeError when the machine has none left."""
        for _ in range(self.limits.threads):
            self._start_worker()

    def stop(self) -> list[threading.Thread]:
        """Send idle threads home; those at work end after their call.

        Returns:
            The threads that have not been written off, to be joined.
        """
        with self._lock:
            self._stopping = True
            threads = [worker.thread for worker in self._workers if worker.thread.ident is not None]
            for worker in self._idle:
                worker.wake.release()
                self._workers.discard(worker)
            self._idle.clear()
            return threads

    def _start_worker(self) -> None:
        with self._lock:
            if self._stopping:
                return
            self._number += 1
            worker = Worker(self, f"lmcache-admin-{self.limits.name}-{self._number}")
            self._workers.add(worker)
            self.threads += 1
        try:
            worker.thread.start()
        except RuntimeError:
            with self._lock:
                self._workers.discard(worker)
                self.threads -= 1
            raise

    def _end(self, worker: Worker) -> None:
        worker.ended = True
        self._workers.discard(worker)

    # -- those whose call never returns

    def _replace(self, call: Call) -> None:
        try:
            self._start_worker()
        except RuntimeError as error:
            self._tell_short(error)
            with self._lock:
                if call.state == DONE:
                    return
                call.replaced = False  # it takes its own place again when it returns
            self._allowance.give_back()

    def _tell_short(self, error: RuntimeError) -> None:
        level = logging.DEBUG if self._short else logging.ERROR  # tried again every second: said once
        self._short = True
        logger.log(level, "lane %s is short of a thread: %s", self.limits.name, error)

    # -- those that die

    def find_dead(self) -> set[Worker]:
        """Take out the threads that have died without being told to end; under the lane's lock."""
        if self._stopping:
            return set()
        dead = {worker for worker in self._workers if worker.began and not worker.thread.is_alive()}
        self._workers -= dead
        self._idle = [worker for worker in self._idle if worker not in dead]
        self.threads -= len(dead)
        self._vacant += len(dead)
        return dead

    def replace_dead(self, dead: set[Worker]) -> None:
        """Note deaths, and have another thread started for each place that is vacant."""
        for _ in dead:
            self._deaths.note(self.limits.name)
        if self._vacant:
            self._run_errand(self._fill)

    def _fill(self) -> None:
        while self._take_vacant(1):
            try:
                self._start_worker()
            except RuntimeError as error:
                self._take_vacant(-1)
                self._tell_short(error)
                return
            self._short = False
            self._deaths.replaced(self.limits.name)
            logger.error("a thread of lane %s had died; another has its place", self.limits.name)

    def _take_vacant(self, number: int) -> bool:
        with self._lock:
            if self._stopping or self._vacant < number:
                return False
            self._vacant -= number
            return True
