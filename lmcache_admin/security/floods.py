"""Of a flood the first: so that nobody fills a disk by being refused."""

from __future__ import annotations

import threading
import time


class Flood:
    """Lets `burst` through at once, and from then on so many a second.

    Args:
        burst: How many at once.
        per_second: How many in the long run.
    """

    def __init__(self, burst: float, per_second: float) -> None:
        self._burst, self._rate = burst, per_second
        self._left, self._at = burst, time.monotonic()
        self._lock = threading.Lock()

    def admits(self) -> bool:
        """Whether one more is let through."""
        with self._lock:
            now = time.monotonic()
            self._left = min(self._burst, self._left + (now - self._at) * self._rate)
            self._at = now
            if self._left < 1:
                return False
            self._left -= 1
            return True
