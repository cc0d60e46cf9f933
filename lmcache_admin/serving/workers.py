"""The threads of a lane, and how many written-off ones may be replaced."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from lmcache_admin.serving.lanes import REPLACED_LIMIT

if TYPE_CHECKING:
    from lmcache_admin.serving.call import Call
    from lmcache_admin.serving.lane import Lane

logger = logging.getLogger(__name__)


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


class Worker:
    """One thread of a lane; waits on a lock of its own, so that waking it wakes nobody else."""

    def __init__(self, lane: Lane, name: str) -> None:
        self.lane = lane
        self.call: Call | None = None
        self.ended = False
        self.wake = threading.Lock()
        self.wake.acquire()
        self.thread = threading.Thread(target=self.run, name=name, daemon=True)

    def run(self) -> None:
        """Answer calls until the lane says that this thread has ended."""
        call = self.lane.take_up(self)
        while not self.ended:
            if call is None:
                self.wake.acquire()
                call, self.call = self.call, None
                if call is None:
                    return
            try:
                call.channel.serve(call)
            except BaseException:  # logged; the thread belongs to its lane and goes on
                logger.exception("answering %s failed", call.route.name)
            call = self.lane.done(call, self)
