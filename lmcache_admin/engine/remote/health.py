"""How a store is doing: what is logged about it once and not with every chunk, and when it is worth asking."""

from __future__ import annotations

import logging
import threading
import time

from lmcache_admin.engine.remote.breaker import Breaker
from lmcache_admin.engine.remote.protocol import StoreDownError, StoreError

logger = logging.getLogger(__name__)

QUIET = 60.0  # seconds between two remarks of one kind


class Health:
    """One backend's view of its store.

    Args:
        place: How the store is called in messages.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._breaker = Breaker()
        self._lock = threading.Lock()
        self._full = False  # the last chunk was refused
        self._remarked: dict[str, float] = {}

    def allows(self) -> bool:
        """Whether the store is to be asked."""
        return self._breaker.allows()

    def answered(self) -> None:
        """Note that the store did something, or said why not."""
        if self._breaker.worked():
            logger.warning("%s answers again", self._place)

    def took(self) -> None:
        """Note that the store took a chunk."""
        if self._turn(full=False):
            logger.warning("%s takes chunks again", self._place)

    def refused(self, error: StoreError) -> None:
        """Note that the store took a chunk not."""
        if self._turn(full=True):
            logger.error("%s takes no chunk: %s", self._place, error)

    def down(self, error: StoreDownError) -> None:
        """Note that the store did not answer."""
        if self._breaker.failed():
            logger.error("%s does not answer; until it does, chunks there are missed: %s", self._place, error)

    def remark(self, kind: str, error: Exception) -> None:
        """Log something about a single chunk, of each kind one in a minute."""
        now = time.monotonic()
        with self._lock:
            if now - self._remarked.get(kind, now - QUIET) < QUIET:
                return
            self._remarked[kind] = now
        logger.warning("%s: %s: %s", self._place, kind, error)

    def _turn(self, *, full: bool) -> bool:
        """Set whether the last chunk was refused; True when that is news."""
        if self._full == full:
            return False
        with self._lock:
            news, self._full = self._full != full, full
        return news
