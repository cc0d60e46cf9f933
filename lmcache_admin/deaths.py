"""Threads that have died: how many of which kind, and whether others have taken their places."""

from __future__ import annotations

import threading
import time

#: Seconds that a death counts as trouble after another thread has taken the place.
RECENT_SECONDS = 60.0


class Deaths:
    """The deaths in one server.

    Args:
        kinds: Kinds that are shown before any of them has died.
    """

    def __init__(self, *kinds: str) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(kinds, 0)
        self._vacant: dict[str, int] = {}
        self._last: dict[str, float] = {}

    def expect(self, kind: str) -> None:
        """Show a kind from now on."""
        with self._lock:
            self._counts.setdefault(kind, 0)

    def note(self, kind: str) -> None:
        """One has died; its place is vacant."""
        with self._lock:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._vacant[kind] = self._vacant.get(kind, 0) + 1
            self._last[kind] = time.monotonic()

    def replaced(self, kind: str) -> None:
        """Another thread has taken a vacant place."""
        with self._lock:
            self._vacant[kind] = max(0, self._vacant.get(kind, 0) - 1)

    def counts(self) -> dict[str, int]:
        """Return kind -> how many have died."""
        with self._lock:
            return dict(self._counts)

    def troubles(self) -> dict[str, str]:
        """Return what `/readyz` tells: kinds of which a place is vacant, or one died a short time ago."""
        now = time.monotonic()
        with self._lock:
            told = {}
            for kind, at in self._last.items():
                vacant, ago = self._vacant.get(kind, 0), now - at
                if vacant:
                    told[f"thread {kind}"] = f"{vacant} died and are not replaced yet"
                elif ago < RECENT_SECONDS:
                    told[f"thread {kind}"] = f"one died {ago:.0f} s ago; another took its place"
            return told
