"""Lanes as plain data: how a request is classed, what a lane may hold, what it has counted."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass

LANES = ("light", "read", "change", "job")
THREADS: Mapping[str, int] = {"light": 2, "read": 8, "change": 4, "job": 4}
QUEUES: Mapping[str, int] = {"light": 64, "read": 64, "change": 16, "job": 16}
DEADLINES: Mapping[str, float] = {"light": 5.0, "read": 5.0, "change": 60.0, "job": 300.0}
REPLACED_LIMIT = 32  # written-off threads that may be replaced at the same time, over all lanes
QUICK_SECONDS = 0.010  # a quick call may hold the loop this long
WAIT_BOUNDS = (0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 5.0)  # seconds; upper bounds of the waiting-time histogram


@dataclass(frozen=True)
class Route:
    """What the server must know of a request before it spends a thread on it.

    Args:
        name: unique, for caps and metrics, e.g. "GET /freeze/status"; a pattern, never a client's path.
        operation: what the caller asked for, in words; error answers name it.
        lane: one of `LANES`.
        quick: the answer needs no waiting and may be given by the thread that runs the loop.
        begun: the route of a request that only has its work begun (`Prefer: respond-async`): it does not wait for a
            thread that others wait in for their results.
    """

    name: str
    operation: str
    lane: str
    quick: bool
    begun: Route | None = None


#: The preference of RFC 7240 for an answer before the work is done.
RESPOND_ASYNC = "respond-async"


def prefers_async(header: str) -> bool:
    """Tell whether a `Prefer` header asks for an answer before the work is done."""
    return any(item.partition(";")[0].strip().lower() == RESPOND_ASYNC for item in header.split(","))


Classify = Callable[[str, str], Route]


@dataclass(frozen=True)
class LaneLimits:
    """What one lane may hold: threads, waiting requests, and seconds until a call is given up."""

    name: str
    threads: int
    queue: int
    deadline: float

    @property
    def route_cap(self) -> int:
        """Threads that one route may hold: half of the lane's, but at least one."""
        return max(1, self.threads // 2)

    @property
    def route_queue(self) -> int:
        """Places that one route may take in the queue while its threads are all taken: half of them."""
        return max(1, self.queue // 2)

    @property
    def retry_after(self) -> int:
        """Seconds that a refused caller is told to wait."""
        return max(1, min(30, math.ceil(self.deadline / 10)))

    def describe(self) -> str:
        """Name and limits in words, for the message of a refusal."""
        return f"lane {self.name}: {self.threads} threads, {self.queue} waiting, {self.deadline:g} s"


class WaitingTimes:
    """How long calls have waited for a thread; changed under the lane's lock."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.buckets = [0] * (len(WAIT_BOUNDS) + 1)

    def count(self, seconds: float) -> None:
        """Count one call that waits no more."""
        self.seconds += seconds
        self.buckets[bisect_left(WAIT_BOUNDS, seconds)] += 1


@dataclass(frozen=True)
class LaneCounters:
    """One lane at one moment; sums count from the start of the server.

    `waited_buckets[i]` counts the calls that waited at most `WAIT_BOUNDS[i]` seconds for a thread and
    longer than the bound before; the last one counts the rest. Calls that waited in vain count, those
    that were refused at once do not. `served_by_loop` is a part of `served`.
    """

    threads: int
    busy: int
    queued: int
    queue_limit: int
    waited_seconds: float
    waited_count: int
    waited_buckets: tuple[int, ...]
    served: int
    served_by_loop: int
    rejected: int
    timed_out: int
    stuck: int


def lane_limits(
    threads: Mapping[str, int], queues: Mapping[str, int], deadlines: Mapping[str, float]
) -> dict[str, LaneLimits]:
    """The limits of all lanes; a lane that a mapping leaves out has its default."""
    return {
        name: LaneLimits(
            name,
            threads.get(name, THREADS[name]),
            queues.get(name, QUEUES[name]),
            deadlines.get(name, DEADLINES[name]),
        )
        for name in LANES
    }
