"""One request on its way through the server, and what its route holds at the moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lmcache_admin.serving.channel import Channel
    from lmcache_admin.serving.lanes import Route
    from lmcache_admin.serving.parser import Request

NEW: Final = 0
QUEUED: Final = 1
RUNNING: Final = 2
WRITTEN_OFF: Final = 3
DONE: Final = 4


class RouteUse:
    """What one route holds of its lane; changed under the lane's lock.

    `running` counts written-off calls too: a route whose calls never return must not be given thread
    after thread.
    """

    __slots__ = ("cap", "running", "slow", "stuck", "waiting", "warned_at")

    def __init__(self, cap: int) -> None:
        self.cap = cap
        self.running = 0
        self.stuck = 0
        self.waiting = 0
        self.slow = False  # a quick call of it once held the loop: threads answer it until it is quick again
        self.warned_at = float("-inf")  # when the log last warned that it held the loop

    @property
    def written_off(self) -> bool:
        """Whether all of its share is lost to calls that have passed their deadline."""
        return self.stuck >= self.cap


class Call:
    """A request that is to be answered once: by the loop, by a lane's thread, or by its deadline."""

    __slots__ = (
        "arrived", "bytes_sent", "channel", "close", "deadline", "refused", "replaced", "request", "route",
        "started", "state", "status", "submitted", "use",
    )  # fmt: skip

    def __init__(self, channel: Channel, request: Request, route: Route, use: RouteUse, now: float) -> None:
        self.channel = channel
        self.request = request
        self.route = route
        self.use = use
        self.arrived = request.arrived
        self.submitted = now
        self.started = now
        self.deadline = 0.0
        self.state: int = NEW
        self.refused = ""  # why no thread has begun it
        self.replaced = False
        self.close = False
        self.status = ""
        self.bytes_sent = 0
