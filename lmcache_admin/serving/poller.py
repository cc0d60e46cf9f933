"""Which sockets are ready: one kept epoll object, or poll where there is none."""

from __future__ import annotations

import select
from typing import Final, Protocol

READ: Final = select.POLLIN | select.POLLPRI
WRITE: Final = select.POLLOUT
FAILED: Final = select.POLLHUP | select.POLLERR | select.POLLNVAL
BATCH = 256  # ready sockets taken in one turn


class Poller(Protocol):
    """Sockets stay registered between turns, so that idle ones cost nothing."""

    def register(self, fd: int, mask: int) -> None:
        """Watch a descriptor."""

    def modify(self, fd: int, mask: int) -> None:
        """Watch it for something else."""

    def unregister(self, fd: int) -> None:
        """Watch it no more."""

    def wait(self, seconds: float | None) -> list[tuple[int, int]]:
        """Descriptors and events; None waits without end."""

    def close(self) -> None:
        """Give back the poller's own descriptor."""


class KeptPoll:
    """poll: one object kept over all turns, for systems without epoll (macOS, BSD)."""

    def __init__(self) -> None:
        self._poll = select.poll()

    def register(self, fd: int, mask: int) -> None:
        """Watch a descriptor."""
        self._poll.register(fd, mask)

    def modify(self, fd: int, mask: int) -> None:
        """Watch it for something else."""
        self._poll.modify(fd, mask)

    def unregister(self, fd: int) -> None:
        """Watch it no more."""
        self._poll.unregister(fd)

    def wait(self, seconds: float | None) -> list[tuple[int, int]]:
        """Descriptors and events; None waits without end."""
        return self._poll.poll(None if seconds is None else max(0.0, seconds) * 1000)

    def close(self) -> None:
        """There is no descriptor."""


if hasattr(select, "epoll"):

    class KeptEpoll:
        """epoll: the kernel keeps the list; its event bits are those of poll."""

        def __init__(self) -> None:
            self._epoll = select.epoll()

        def register(self, fd: int, mask: int) -> None:
            """Watch a descriptor."""
            self._epoll.register(fd, mask)

        def modify(self, fd: int, mask: int) -> None:
            """Watch it for something else."""
            self._epoll.modify(fd, mask)

        def unregister(self, fd: int) -> None:
            """Watch it no more."""
            self._epoll.unregister(fd)

        def wait(self, seconds: float | None) -> list[tuple[int, int]]:
            """Descriptors and events; None waits without end."""
            return self._epoll.poll(seconds, BATCH)

        def close(self) -> None:
            """Give back epoll's own descriptor."""
            self._epoll.close()


def new_poller() -> Poller:
    """The best poller of this system."""
    return KeptEpoll() if hasattr(select, "epoll") else KeptPoll()
