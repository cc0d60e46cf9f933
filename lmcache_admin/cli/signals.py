"""The signals that end or renew a service, taken from the first moment of its command."""

from __future__ import annotations

import queue
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Signals", "taken"]


class Signals:
    """What was received. A signal that ends the service ends a start at once; after `hold` it waits for `next`."""

    def __init__(self) -> None:
        self._received: queue.SimpleQueue[int] = queue.SimpleQueue()  # may be filled from a signal handler
        self._held = False

    def receive(self, number: int, _: FrameType | None) -> None:
        """Take a signal: the handler."""
        self._received.put(number)
        if not self._held and number != signal.SIGHUP:
            raise SystemExit(0)

    def hold(self) -> None:
        """Let signals wait from now on, since there is something to stop."""
        self._held = True

    def next(self) -> int:
        """Wait for a signal and return its number."""
        return self._received.get()


@contextmanager
def taken() -> Iterator[Signals]:
    """Take SIGINT, SIGTERM and SIGHUP."""
    signals = Signals()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signals.receive) for number in numbers}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
