"""All lanes of a server together: who goes where, whose time is over, what has been counted."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from lmcache_admin.deaths import Deaths
from lmcache_admin.serving.call import Call, RouteUse
from lmcache_admin.serving.crew import Allowance, RunErrand
from lmcache_admin.serving.lane import Lane
from lmcache_admin.serving.lanes import LaneCounters, LaneLimits, Route


class Lanes:
    """All lanes of a server, and what each route holds of them."""

    def __init__(self, limits: Mapping[str, LaneLimits], run_errand: RunErrand, deaths: Deaths) -> None:
        allowance = Allowance()
        self._lanes = {name: Lane(limit, allowance, run_errand, deaths) for name, limit in limits.items()}
        self._all = tuple(self._lanes.values())
        self._uses: dict[str, RouteUse] = {}

    def lane(self, route: Route) -> Lane:
        """The lane of a route."""
        return self._lanes[route.lane]

    def use(self, route: Route) -> RouteUse:
        """What a route holds; asked by the loop alone."""
        use = self._uses.get(route.name)
        if use is None:
            use = self._uses[route.name] = RouteUse(self._lanes[route.lane].limits.route_cap)
        return use

    def next_deadline(self) -> float | None:
        """When the next open call of any lane has to be given up."""
        soonest = None
        for lane in self._all:
            deadline = lane.next_deadline()
            if deadline is not None and (soonest is None or deadline < soonest):
                soonest = deadline
        return soonest

    def expire(self, now: float, replace: bool = True) -> list[Call]:
        """The calls of all lanes whose time is over; each is returned once."""
        return [call for lane in self._all if lane.open_calls() for call in lane.expire(now, replace)]

    def bury(self) -> list[Call]:
        """Have dead threads of all lanes replaced; returns the calls that they had in hand."""
        return [call for lane in self._all for call in lane.bury()]

    def open_calls(self) -> int:
        """Calls that wait or run."""
        return sum(lane.open_calls() for lane in self._all)

    def start(self) -> None:
        """Start all threads."""
        for lane in self._all:
            lane.start()

    def stop(self) -> list[threading.Thread]:
        """End all threads that are not stuck; returns those to be joined."""
        return [thread for lane in self._all for thread in lane.stop()]

    def counters(self) -> dict[str, LaneCounters]:
        """Every lane at this moment, by name; for metrics and pages."""
        return {name: lane.counters() for name, lane in self._lanes.items()}
