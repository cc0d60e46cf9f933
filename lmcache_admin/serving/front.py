"""What the loop does with complete requests: answer quick ones, hand the others on, mind deadlines."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from lmcache_admin.serving.answers import Refusal, failed, overloaded, stopped, timed_out
from lmcache_admin.serving.call import NEW, QUEUED, Call
from lmcache_admin.serving.dispatcher import Lanes
from lmcache_admin.serving.lanes import Classify, Route, prefers_async
from lmcache_admin.serving.reasons import STOPPING

if TYPE_CHECKING:
    from lmcache_admin.serving.channel import Channel
    from lmcache_admin.serving.parser import Request
    from lmcache_admin.serving.watch import Watch

logger = logging.getLogger(__name__)

_DEATH = "the death of its thread"
UNCLASSED = Route("unclassed", "answer the request", "light", quick=False)


class Front:
    """Requests between the sockets and the lanes; all of it runs on the loop's thread.

    `quick` holds the call that the loop is answering. Who takes it out decides: the loop itself when it
    has answered, or the watch when it has waited long enough and takes the loop over.
    """

    def __init__(self, classify: Classify, lanes: Lanes, flush: Callable[[Channel], None]) -> None:
        self.arrivals: deque[Channel] = deque()  # channels with a complete request
        self.quick: dict[Call, bool] = {}
        self.lanes = lanes
        self.watch: Watch
        self._classify = classify
        self._flush = flush
        self._over: list[tuple[Call, Refusal]] = []  # calls whose client has yet to be told

    def answering(self) -> Call | None:
        """The call that the loop is answering; for the watch, on another thread."""
        try:
            return next(iter(self.quick), None)
        except RuntimeError:  # it has just ended, or begun
            return None

    @property
    def impatient(self) -> bool:
        """Whether a client could not yet be told, because a thread was just writing to it."""
        return bool(self._over)

    def serve_arrivals(self) -> bool:
        """One request of each channel that has one; False when another thread has the loop now."""
        for _ in range(len(self.arrivals)):
            channel = self.arrivals.popleft()
            request = channel.next_request()
            if request is None:
                continue
            route = UNCLASSED if request.error else self._class(request)
            call = Call(channel, request, route, self.lanes.use(route), time.monotonic())
            channel.call = call
            if (route.quick and not call.use.slow and not call.use.written_off) or request.error:
                if not self._answer(call):
                    return False
            else:
                self._submit(call)
        return True

    def _class(self, request: Request) -> Route:
        path = request.path
        if path[:2] == "//":
            path = "/" + path.lstrip("/")
        try:
            route = self._classify(request.command, path)
            if route.begun is not None and prefers_async(request.headers.get("PREFER", "")):
                route = route.begun
            self.lanes.lane(route)  # must be one that we have
            return route
        except Exception:  # logged; a fault of the classing costs a lane its choice and no request its answer
            logger.exception("a request could not be classed")
            return UNCLASSED

    def _answer(self, call: Call) -> bool:
        """Answer on this thread; False when that took so long that the loop has gone to another."""
        channel, lane = call.channel, self.lanes.lane(call.route)
        self.quick[call] = True
        if self.watch.parked:
            self.watch.unpark()
        try:
            channel.answer(call)
        except BaseException:  # logged; this is the loop: one answer may fail, the server not
            logger.exception("answering %s failed", call.route.name)
            channel.will_close = True
        if self.quick.pop(call, None) is None:
            channel.release(call)
            lane.done(call, None)
            return False
        channel.release(call, in_loop=True)
        lane.served_by_loop += 1
        if channel.requests and not channel.given_up:
            self.arrivals.append(channel)
        self._flush(channel)
        return True

    def _submit(self, call: Call) -> None:
        lane = self.lanes.lane(call.route)
        reason = lane.submit(call, call.submitted)
        if reason:
            self.refuse(call, overloaded(call, reason, lane.limits.retry_after))

    def refuse(self, call: Call, refusal: Refusal) -> None:
        """Answer a call that no thread has begun."""
        channel = call.channel
        channel.answer(call, refusal)
        channel.release(call, in_loop=True)
        if channel.requests and not channel.given_up:
            self.arrivals.append(channel)
        self._flush(channel)

    # -- deadlines

    def tell_expired(self, now: float) -> None:
        """Tell the clients of calls whose time is over."""
        deadline = self.lanes.next_deadline()
        if deadline is not None and deadline <= now:
            for call in self.lanes.expire(now):
                self._over_with(call)
        if self._over:
            self._tell_over()

    def _tell_over(self) -> None:
        self._over = [pair for pair in self._over if not self._tell(*pair)]

    def _over_with(self, call: Call) -> None:
        limits = self.lanes.lane(call.route).limits
        if call.state == QUEUED:
            self.refuse(call, overloaded(call, call.refused, limits.retry_after))
        else:
            late = "%s has not returned within %g s", call.route.name, limits.deadline
            self.watch.run_errand(partial(logger.warning, *late))  # a log that blocks must not hold the loop
            self._over.append((call, timed_out(call, limits.deadline)))

    def _tell(self, call: Call, refusal: Refusal) -> bool:
        told = call.channel.give_up(call, refusal)
        if told:
            self._flush(call.channel)
        return told

    # -- threads that have died

    def bury(self) -> None:
        """Tell the clients of calls whose thread has died."""
        self._over += [(call, failed(call, _DEATH)) for call in self.lanes.bury()]
        if self._over:
            self._tell_over()

    def resume(self, channel: Channel) -> None:
        """Go on with a connection that a dead thread of the loop may have had in hand."""
        call = channel.call
        if call is not None and call.state == NEW:
            self._over.append((call, failed(call, _DEATH)))
        elif channel.next_request() is not None and channel not in self.arrivals:
            self.arrivals.append(channel)

    def abandon(self) -> None:
        """Give up every open call: the server stops."""
        for call in self.lanes.expire(float("inf"), replace=False):
            if call.state == QUEUED:
                self.refuse(call, overloaded(call, STOPPING, 0))
            else:
                self._over.append((call, stopped(call)))
        self._tell_over()
