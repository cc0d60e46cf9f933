"""Periodic tasks: interval, deadline, last outcome; and who starts and stops them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

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
        self._thread: threading.Thread | None = None
        self.began: float | None = None
        self.outcome: Outcome | None = None

    def start(self) -> None:
        """Begin the first run at once."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name=f"lmcache-admin-{self.name}", daemon=True)
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Wait at most `timeout` seconds for the run in hand; a hung one is left behind (its thread is a daemon)."""
        self._stopping.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)
            if self._thread.is_alive():
                logger.warning("The task %s did not end within %.1f s", self.name, timeout)
        self._thread = None

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
    """The tasks of one server; started last, stopped first."""

    def __init__(self) -> None:
        self.tasks: list[PeriodicTask] = []

    def add(self, task: PeriodicTask) -> None:
        """Take a task in, before `start`."""
        self.tasks.append(task)

    def start(self) -> None:
        """Start every task."""
        for task in self.tasks:
            task.start()

    def stop(self, timeout: float) -> None:
        """Stop every task within `timeout` seconds in all."""
        end = time.monotonic() + timeout
        for task in self.tasks:
            task.stop(max(0.0, end - time.monotonic()))
