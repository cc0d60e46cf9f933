"""One thread of a lane, and what it does until its lane sends it home."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmcache_admin.serving.call import Call
    from lmcache_admin.serving.crew import Crew

logger = logging.getLogger(__name__)


class Worker:
    """One thread of a lane; waits on a lock of its own, so that waking it wakes nobody else."""

    def __init__(self, crew: Crew, name: str) -> None:
        self.crew = crew
        self.call: Call | None = None
        self.began = False  # before, a thread that is not alive has not died
        self.ended = False
        self.wake = threading.Lock()
        self.wake.acquire()
        self.thread = threading.Thread(target=self.run, name=name, daemon=True)

    def run(self) -> None:
        """Answer calls until the lane says that this thread has ended."""
        self.began = True
        call = self.crew.take_up(self)
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
            call = self.crew.done(call, self)
