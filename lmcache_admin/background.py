"""Periodic tasks: interval, deadline, last outcome; and who starts and stops them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from lmcache_admin.deaths import Deaths

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How the last run of a task ended.

    Args:
        ended: By `time.monotonic`.
        seconds: How long it took.
        error: What it raised, as text, or None.
    """

    ended: float
    seconds: float
    error: str | None


class PeriodicTask:
    """Work that is done again and again on a thread of its own, because it calls the host or the network.

    Args:
        name: Ends the thread's name, `lmcache-admin-<name>`.
        work: What is done; what it raises is logged when it begins and when it is over, and kept.
        interval: Seconds from the end of a run to the begin of the next.
    """

    def __init__(self, name: str, work: Callable[[], None], interval: float) -> None:
        self.name = name
        self._work = work
        self._interval = interval
        self._stopping = threading.Event()
        self._wanted = False
        self._lock = threading.Lock()  # held by whoever starts a thread
        self._thread: threading.Thread | None = None
        self.began: float | None = None
        self.outcome: Outcome | None = None

    def start(self) -> None:
        """Begin the first run at once.

        Raises:
            RuntimeError: The machine has no thread left; `mend` tries again.
        """
        with self._lock:
            self._stopping.clear()
            self._wanted = True
            self._begin()

    def mend(self) -> bool | None:
        """Start the thread again if it is not there.

        Returns:
            True when it had died, False when it could not be started before, None when all was well.

        Raises:
            RuntimeError: The machine has no thread left.
        """
        with self._lock:
            if not self._wanted or (self._thread is not None and self._thread.is_alive()):
                return None
            died = self._thread is not None
            self._begin()
            return died

    def stop(self, timeout: float) -> None:
        """Wait at most `timeout` seconds for the run in hand; a hung one is left behind (its thread is a daemon)."""
        with self._lock:
            self._wanted = False
            self._stopping.set()
            thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
            if thread.is_alive():
                logger.warning("The task %s did not end within %.1f s", self.name, timeout)

    def _begin(self) -> None:
        thread = threading.Thread(target=self._run, name=f"lmcache-admin-{self.name}", daemon=True)
        thread.start()
        self._thread = thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._run_once()
            self._stopping.wait(self._interval)

    def _run_once(self) -> None:
        self.began = time.monotonic()
        error: str | None = None
        try:
            self._work()
        except BaseException as failure:  # a task outlives whatever its host raises
            error = f"{type(failure).__name__}: {failure}"
            if self.outcome is None or self.outcome.error != error:
                logger.exception("The task %s failed", self.name)
        now = time.monotonic()
        self.outcome = Outcome(now, now - self.began, error)
        self.began = None


class Background:
    """The tasks of one server; started last, stopped first.

    Args:
        deaths: Where a task whose thread has died is noted.
    """

    def __init__(self, deaths: Deaths | None = None) -> None:
        self.tasks: list[PeriodicTask] = []
        self._deaths = deaths or Deaths()

    def add(self, task: PeriodicTask) -> None:
        """Take a task in, before `start`."""
        self.tasks.append(task)
        self._deaths.expect(task.name)

    def start(self) -> None:
        """Start every task; one for which the machine has no thread left is started by `mend`."""
        for task in self.tasks:
            try:
                task.start()
            except RuntimeError as error:
                logger.error("The task %s has to wait: %s", task.name, error)  # noqa: TRY400 - one line says it

    def mend(self) -> None:
        """Start the tasks again whose thread has died, or never could be started."""
        for task in self.tasks:
            try:
                died = task.mend()
            except RuntimeError as error:
                logger.debug("The task %s still has to wait: %s", task.name, error)
                continue
            if died:
                self._deaths.note(task.name)
                self._deaths.replaced(task.name)
                logger.error("The thread of the task %s had died; another has its place", task.name)

    def stop(self, timeout: float) -> None:
        """Stop every task within `timeout` seconds in all."""
        end = time.monotonic() + timeout
        for task in self.tasks:
            task.stop(max(0.0, end - time.monotonic()))
