"""The spare thread: takes the loop over from a call that lasts or a thread that has died, and runs its errands."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from lmcache_admin.serving.lanes import QUICK_SECONDS

if TYPE_CHECKING:
    from lmcache_admin.deaths import Deaths
    from lmcache_admin.serving.call import Call
    from lmcache_admin.serving.loop import Loop

logger = logging.getLogger(__name__)

LOOP_NAME = "api-server-thread"
SPARE_NAME = "lmcache-admin-spare"
LATE_SECONDS = 1.5 * QUICK_SECONDS  # a look that comes later than this says nothing about the call
WARNING_SECONDS = 60.0  # a route that holds the loop again sooner is logged at DEBUG
QUIET_TICKS = 5  # ticks without a quick call before the spare thread parks
LOOK_SECONDS = 1.0  # how often a parked spare thread looks whether the loop's is alive


class Watch:
    """Which thread runs the loop, and the spare one that watches it.

    While quick calls come, the spare looks every `QUICK_SECONDS`; a call that it sees twice has lasted
    that long. When none come it parks on a lock, and looks once a second whether the loop's thread is alive, as
    that one looks whether the spare is.

    Args:
        loop: What is run.
        on_end: Called when it has ended.
        deaths: Where a thread that has died is noted.
        look_after: Called about once a second, on the spare thread.
    """

    def __init__(
        self, loop: Loop, on_end: Callable[[], None], deaths: Deaths, look_after: Callable[[], None] | None = None
    ) -> None:
        self.parked = False
        self._deaths = deaths
        self._look_after, self._next_look = look_after, 0.0
        self._vacant = self._short = False
        self._led = False  # before, a thread of the loop that is not alive has not died
        self._loop = loop
        self._front = loop.front
        self._on_end = on_end
        self._gate = threading.Lock()
        self._gate.acquire()
        self._park_lock = threading.Lock()
        self._errands: deque[Callable[[], None]] = deque()
        self._stopping = False
        self._leader: threading.Thread | None = None
        self._spare: threading.Thread | None = None
        self._demoted = 0
        deaths.expect("loop")
        deaths.expect("spare")

    def start(self) -> None:
        """Start the loop's thread and the spare one; RuntimeError when the machine has none left."""
        self._start_spare()
        self._leader = threading.Thread(target=self._lead, name=LOOP_NAME, daemon=True)
        try:
            self._leader.start()
        except RuntimeError:
            self._leader = None
            raise

    @property
    def runs(self) -> bool:
        """Whether some thread has the loop."""
        return self._leader is not None

    def leads(self) -> bool:
        """Whether the asking thread has the loop."""
        return self._leader is threading.current_thread()

    def threads(self) -> list[threading.Thread]:
        """The two threads, to be joined."""
        return [thread for thread in (self._leader, self._spare) if thread is not None]

    def stop(self) -> None:
        """End the spare thread; the loop has ended."""
        self._stopping = True
        self.unpark()

    # -- for the loop

    def unpark(self) -> None:
        """Have the spare thread look."""
        with self._park_lock:
            if self.parked:
                self.parked = False
                self._gate.release()

    def run_errand(self, errand: Callable[[], None]) -> None:
        """Have the spare thread do what might block, such as starting a thread."""
        self._errands.append(errand)
        self.unpark()

    def keep_spare(self) -> None:
        """Start a spare thread if there is none, because the machine had none left or it has died."""
        if self._stopping:
            return
        if self._spare is not None and not self._spare.is_alive():
            self._spare = None
            self._deaths.note("spare")
            self._vacant = True
        if self._spare is None:
            self._find_spare()

    def _find_spare(self) -> None:
        self.parked = False
        try:
            self._start_spare()
        except RuntimeError as error:
            level = logging.DEBUG if self._short else logging.ERROR  # tried again every second: said once
            self._short = True
            logger.log(level, "the loop has no spare thread: %s", error)
            return
        self._short = False
        if self._vacant:
            self._vacant = False
            self._deaths.replaced("spare")
            self.run_errand(partial(logger.error, "the spare thread had died; another has its place"))

    # -- the two roles

    def _lead(self) -> None:
        self._led = True
        if self._loop.run():
            self._on_end()

    def _start_spare(self) -> None:
        spare = threading.Thread(target=self._spare_run, name=SPARE_NAME, daemon=True)
        spare.start()
        self._spare = spare

    def _spare_run(self) -> None:
        seen: Call | None = None
        seen_at = quiet = 0.0
        while not self._stopping:
            self._run_errands()
            self._look()
            if self._loop_has_died():
                self._succeed()
                return
            now = self._front.answering()
            if now is None:
                seen, quiet = None, quiet + 1
            elif now is not seen:
                seen, seen_at, quiet = now, time.monotonic(), 0
            elif time.monotonic() - seen_at > LATE_SECONDS:
                seen_at = float("inf")  # we were kept from running, and so was the call: look once more
            elif self._front.quick.pop(now, None):
                self._take_over(now)
                return
            if quiet > QUIET_TICKS:
                now = seen = None  # no call is kept alive meanwhile
                quiet = 0
                self._park()
            else:
                time.sleep(QUICK_SECONDS)

    def _run_errands(self) -> None:
        while self._errands:
            try:
                self._errands.popleft()()
            except Exception:  # logged; the errands behind it have to be run
                logger.exception("the spare thread failed at what it was sent for")

    def _park(self) -> None:
        self.parked = True
        if self._front.quick or self._errands or self._stopping:  # came before parked was seen
            self.unpark()
        while not self._gate.acquire(timeout=LOOK_SECONDS):
            self._look()
            if self._loop_has_died():
                self.unpark()

    def _look(self) -> None:
        now = time.monotonic()
        if self._look_after is None or now < self._next_look or self._stopping:
            return
        self._next_look = now + LOOK_SECONDS
        try:
            self._look_after()
        except Exception:  # logged; the loop needs its spare thread
            logger.exception("looking after other threads failed")

    def _loop_has_died(self) -> bool:
        leader = self._leader
        alive = leader is None or not self._led or leader.is_alive()
        return not (alive or self._stopping or self._loop.closed)

    def _succeed(self) -> None:
        """Take the loop over from its thread, which has died."""
        self._deaths.note("loop")
        self._leader = threading.current_thread()
        self._leader.name = LOOP_NAME
        self._spare = None
        self.keep_spare()
        self.run_errand(partial(logger.error, "the thread of the loop had died; another has its place"))
        self._deaths.replaced("loop")
        self._loop.recover()
        self._lead()

    def _take_over(self, call: Call) -> None:
        self._demoted += 1
        former, self._leader = self._leader, threading.current_thread()
        self._leader.name = LOOP_NAME
        if former is not None:
            former.name = f"lmcache-admin-{call.route.lane}-loop-{self._demoted}"
        self._spare = None
        self.keep_spare()
        self._front.lanes.lane(call.route).adopt(call)
        self._report(call)
        self._lead()

    def _report(self, call: Call) -> None:
        """One warning per route and minute: a busy machine keeps a call from running now and then."""
        use, now = call.use, time.monotonic()
        level = logging.WARNING if now - use.warned_at >= WARNING_SECONDS else logging.DEBUG
        if level == logging.WARNING:
            use.warned_at = now
        line = "%s held the loop; threads answer it until it is quick again", call.route.name
        self.run_errand(partial(logger.log, level, *line))  # a log that blocks must not hold the loop
