"""Spares everybody a store that does not answer."""

from __future__ import annotations

import random
import threading
import time

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 5.0


class Breaker:
    """After a failure nobody asks for a while; then one caller tries, and the others go on waiting for it.

    Args:
        first: Seconds of the first pause; each failed try doubles it.
        longest: Seconds beyond which a pause does not grow.
    """

    def __init__(self, first: float = FIRST_PAUSE, longest: float = LONGEST_PAUSE) -> None:
        self._first = first
        self._longest = longest
        self._lock = threading.Lock()
        self._pause = 0.0  # 0: closed
        self._until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the last thing that was asked failed."""
        return self._pause > 0

    def allows(self) -> bool:
        """Whether the caller may ask now; True while open means that it is the one that tries."""
        if not self._pause:
            return True
        with self._lock:
            now = time.monotonic()
            if self._pause and now < self._until:
                return False
            self._until = now + self._longest  # should the one that tries hang, another does in a while
            return True

    def worked(self) -> bool:
        """Note that the store answered; True when it had not before."""
        if not self._pause:
            return False
        with self._lock:
            recovered, self._pause = self._pause > 0, 0.0
        return recovered

    def failed(self) -> bool:
        """Note that the store did not answer; True when it had before."""
        with self._lock:
            opened = not self._pause
            self._pause = self._first if opened else min(self._pause * 2, self._longest)
            jitter = 1 + random.random() / 10  # noqa: S311 - spreads the tries of many processes, hides nothing
            self._until = time.monotonic() + self._pause * jitter
        return opened
