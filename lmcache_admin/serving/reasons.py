"""Why a lane does not begin a call, in words: each says what is so at that moment, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmcache_admin.serving.call import RouteUse
    from lmcache_admin.serving.lanes import LaneLimits, Route


STOPPING = "the server is stopping"


def no_room(limits: LaneLimits, route: Route, use: RouteUse, queued: int) -> str | None:
    """Why a call that no thread may take at once cannot be queued either; None when it can.

    Args:
        limits, route, use: of the call.
        queued: calls of all routes that wait.
    """
    if use.written_off:
        return written_off(limits, route, use)
    share_taken = use.running >= use.cap  # threads may be idle then
    if share_taken and use.waiting >= limits.route_queue:
        share = f"{_share(limits, use)} and {limits.route_queue} of the places in the queue"
        return f"{_calls(use.running, route)} and {use.waiting} more wait ({share})"
    if queued < limits.queue:
        return None
    if share_taken:
        return f"{_calls(use.running, route)} and the queue is full ({_share(limits, use)})"
    return f"all threads are busy and the queue is full ({limits.describe()})"


def written_off(limits: LaneLimits, route: Route, use: RouteUse) -> str:
    """All that the route may hold is lost to calls that have passed their deadline."""
    lost = f"{_calls(use.stuck, route)} within {limits.deadline:g} s"
    return f"{lost}; no more are begun until one of them does ({_share(limits, use)})"


def waited_in_vain(limits: LaneLimits, route: Route, use: RouteUse) -> str:
    """The call's deadline has found it in the queue."""
    waited = f"not begun within {limits.deadline:g} s"
    if use.running >= use.cap:
        return f"{waited}: {_calls(use.running, route)} ({_share(limits, use)})"
    return f"{waited}: all threads are busy ({limits.describe()})"


def _calls(number: int, route: Route) -> str:
    if number == 1:
        return f"1 call of {route.name} has not returned"
    return f"{number} calls of {route.name} have not returned"


def _share(limits: LaneLimits, use: RouteUse) -> str:
    threads = "1 thread" if use.cap == 1 else f"{use.cap} threads"
    return f"{limits.describe()}; one route may hold {threads}"
