"""The signals that end or renew a service, taken from the first moment of its command."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Signals", "taken"]


class Signals:
    """What was received. A signal that ends the service ends a start at once; after `hold` it waits for `next`.

    Each signal is a byte in a pipe, which the interpreter writes the moment that it comes. Waiting for a lock or a
    queue would miss one that comes just before the wait: its handler runs only when something ends the wait.
    """

    def __init__(self) -> None:
        self._read, self.write = os.pipe()
        os.set_blocking(self.write, False)
        self._held = False

    def receive(self, number: int, _: FrameType | None) -> None:
        """Take a signal: the handler."""
        if not self._held and number != signal.SIGHUP:
            raise SystemExit(0)

    def hold(self) -> None:
        """Let signals wait from now on, since there is something to stop."""
        self._held = True

    def next(self) -> int:
        """Wait for a signal and return its number."""
        return os.read(self._read, 1)[0]

    def close(self) -> None:
        """Give the pipe back."""
        os.close(self._read)
        os.close(self.write)


@contextmanager
def taken() -> Iterator[Signals]:
    """Take SIGINT, SIGTERM and SIGHUP."""
    signals = Signals()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    awakened = signal.set_wakeup_fd(signals.write, warn_on_full_buffer=False)
    before = {number: signal.signal(number, signals.receive) for number in numbers}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(awakened)
        signals.close()
