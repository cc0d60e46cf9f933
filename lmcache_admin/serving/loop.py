"""The loop: reads, answers quick calls, hands the others to the lanes, minds the deadlines."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from lmcache_admin.serving.front import Front
from lmcache_admin.serving.lanes import Classify
from lmcache_admin.serving.poller import FAILED, READ, WRITE, new_poller

if TYPE_CHECKING:
    from lmcache_admin.serving.channel import Channel
    from lmcache_admin.serving.dispatcher import Lanes
    from lmcache_admin.serving.listener import Listener

logger = logging.getLogger(__name__)


class Loop:
    """The state of the loop; the thread that runs it changes when a quick call does not return.

    Whoever runs it leaves at once when it is told that another thread has taken the loop over.
    """

    def __init__(self, classify: Classify, lanes: Lanes) -> None:
        self.front = Front(classify, lanes, self.flush)
        self.map: dict[int, Any] = {}
        self.dirty: deque[Channel] = deque()  # channels that a lane's thread has something to say about
        self.draining = False
        self.closed = False
        self._drain_until: float | None = None
        self._silent_until = 0.0  # no failed turn is logged before
        self._poller = new_poller()
        self._pipe = os.pipe()
        for fd in self._pipe:
            os.set_blocking(fd, False)
        self._poller.register(self._pipe[0], READ)
        self._poked = False
        self._poke_lock = threading.Lock()
        self.listener: Listener

    # -- from any thread

    def poke(self) -> None:
        """Wake the loop."""
        if not self._poked:
            self._poked = True
            with self._poke_lock:
                if not self.closed:
                    with contextlib.suppress(BlockingIOError):
                        os.write(self._pipe[1], b"x")

    def wake(self, channel: Channel) -> None:
        """Have the loop look at a channel."""
        self.dirty.append(channel)
        self.poke()

    # -- sockets

    def watch(self, fd: int, mask: int = READ) -> int:
        """Watch a new socket."""
        self._poller.register(fd, mask)
        return mask

    def unwatch(self, fd: int) -> None:
        """Watch a socket no more."""
        with contextlib.suppress(OSError, KeyError):
            self._poller.unregister(fd)

    def set_mask(self, fd: int, mask: int) -> None:
        """Watch a socket for something else."""
        self._poller.modify(fd, mask)

    # -- turns

    def run(self) -> bool:
        """Turn until the server has drained (True), or until another thread has the loop (False)."""
        while not self.closed:
            try:
                if self._drain_until is not None and self._drained(self._drain_until):
                    return True
                if not self.turn():
                    return False
            except BaseException:  # noqa: BLE001 - logged; without the loop there is no server
                self._log_failure()
                if not self.front.watch.leads():
                    return False
                time.sleep(0.01)  # a fault that comes back at once must not take the processor
        return True

    def _log_failure(self) -> None:
        """Log a failed turn, at most once a second: one that comes back would fill the disk."""
        now = time.monotonic()
        if now >= self._silent_until:
            self._silent_until = now + 1.0
            logger.exception("a turn of the loop failed")

    def turn(self) -> bool:
        """One turn; False when another thread has taken the loop over meanwhile."""
        front = self.front
        for fd, events in self._poller.wait(self._patience()):
            channel = self.map.get(fd)
            if channel is not None:
                self._handle(channel, events)
            elif fd == self._pipe[0]:
                self._unpoke()
            elif fd == self.listener.fd:
                self.listener.accept()
            if front.arrivals and not front.serve_arrivals():
                return False
        self._take_dirty()
        if front.arrivals and not front.serve_arrivals():
            return False
        now = time.monotonic()
        front.tell_expired(now)
        if now >= self.listener.next_care:
            self.listener.care(now)
            front.bury()
            front.watch.keep_spare()
        return True

    def _patience(self) -> float:
        if self.front.arrivals or self.dirty:
            return 0.0
        if self.front.impatient:
            return 0.005
        if self.draining:
            return 0.02
        soonest, deadline = self.listener.next_care, self.front.lanes.next_deadline()
        if deadline is not None and deadline < soonest:
            soonest = deadline
        return max(0.0, soonest - time.monotonic())

    def _unpoke(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._pipe[0], 64)
        self._poked = False

    def _handle(self, channel: Channel, events: int) -> None:
        try:
            if events & READ:
                self._read(channel)
            if events & WRITE and channel.connected:
                channel.handle_write()
            if events & FAILED and channel.connected:
                channel.handle_close()
        except Exception:  # noqa: BLE001 - one connection's fault closes that connection
            channel.handle_error()
        self.refresh(channel)

    def _read(self, channel: Channel) -> None:
        channel.muted = True  # before the question: an answer that ends right now sees it and wakes us
        if channel.readable():
            channel.muted = False
            channel.handle_read_event()

    def refresh(self, channel: Channel) -> None:
        """Watch a channel for what it waits for now."""
        fd = channel.fd
        if fd is None:
            return
        if channel.muted and channel.readable():
            channel.muted = False
        mask = WRITE if channel.writable() else 0
        if not channel.muted:
            mask |= READ
        if mask != channel.mask:
            channel.mask = mask
            self._poller.modify(fd, mask)

    def _take_dirty(self) -> None:
        for _ in range(len(self.dirty)):
            channel = self.dirty.popleft()
            if channel.fd is None:
                continue
            if channel.next_request() is not None:
                self.front.arrivals.append(channel)
            elif channel.writable():
                channel.handle_write()
            self.refresh(channel)

    def flush(self, channel: Channel) -> None:
        """Send what a channel has pending and watch it for the rest."""
        if channel.writable():
            channel.handle_write()
        elif not channel.muted:
            return
        self.refresh(channel)

    # -- another thread goes on where one has died

    def recover(self) -> None:
        """Forget nothing that the dead thread had in hand; the asking thread has the loop from here on."""
        self._unpoke()
        self.front.quick.clear()
        for channel in list(self.map.values()):
            try:
                self.front.resume(channel)
                if channel.writable():
                    channel.handle_write()
                self.refresh(channel)
            except Exception:  # noqa: BLE001 - one connection's fault closes that connection
                channel.handle_error()

    # -- the end

    def drain(self, until: float) -> None:
        """Take nothing new in, and end when everything is answered or the time is over."""
        self._drain_until = until
        self.poke()

    def _drained(self, until: float) -> bool:
        if not self.draining:
            self.draining = True
            self.listener.close()
        for channel in list(self.map.values()):
            if channel.idle:
                channel.handle_close()
        return time.monotonic() >= until or not (self.map or self.front.lanes.open_calls())

    def close(self) -> None:
        """Close all connections and what is ours; pokes that come later go nowhere."""
        with self._poke_lock:
            if self.closed:
                return
            self.closed = True
        for channel in list(self.map.values()):
            channel.handle_close()
        self.listener.close()
        self._poller.close()
        for fd in self._pipe:
            os.close(fd)

    def leave_to_parent(self) -> None:
        """Close our copies of the parent's descriptors; no lock may be taken here."""
        if self.closed:
            return
        self.closed = True
        self.listener.leave_to_parent()
        for channel in list(self.map.values()):
            if channel.socket is not None:
                channel.socket.close()
        self.map.clear()
        self._poller.close()
        for fd in self._pipe:
            os.close(fd)
