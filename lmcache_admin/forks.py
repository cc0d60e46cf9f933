"""A forked child has no server, no client and no thread of ours: descriptors are closed there, the parent goes on."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """What must be told of a fork."""

    def leave_to_parent(self) -> None:
        """Called in the child, where only the forking thread exists and any lock may be held for ever."""


_told: weakref.WeakSet[Forkable] = weakref.WeakSet()


def remember(part: Forkable) -> None:
    """Tell a part of forks for as long as it lives."""
    _told.add(part)


def forget(part: Forkable) -> None:
    """A stopped part has nothing to close."""
    _told.discard(part)


def _in_child() -> None:
    for part in list(_told):
        part.leave_to_parent()


os.register_at_fork(after_in_child=_in_child)
