"""A forked child has no server: our descriptors are closed there, the parent serves on."""

from __future__ import annotations

import contextlib
import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """What must be told of a fork."""

    def leave_to_parent(self) -> None:
        """Called in the child, where only the forking thread exists and any lock may be held for ever."""


_servers: weakref.WeakSet[Forkable] = weakref.WeakSet()


def remember(server: Forkable) -> None:
    """Tell a server of forks for as long as it lives."""
    _servers.add(server)


def forget(server: Forkable) -> None:
    """A stopped server has nothing to close."""
    _servers.discard(server)


def close_quietly(descriptors: list[int]) -> None:
    """Close descriptors of which some may be closed already."""
    for fd in descriptors:
        with contextlib.suppress(OSError):
            os.close(fd)


def _in_child() -> None:
    for server in list(_servers):
        server.leave_to_parent()


os.register_at_fork(after_in_child=_in_child)
