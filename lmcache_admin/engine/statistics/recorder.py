"""A bounded queue of lookups and the thread that counts them, so that a lookup does not wait for its statistics."""

from __future__ import annotations

import logging
import threading
import time
from array import array
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Any

from lmcache_admin import forks
from lmcache_admin.engine.statistics.recordings import Recording

logger = logging.getLogger(__name__)

MOST_CHUNKS = 8_000_000  # that may wait, whatever the number of lookups: 64 MB of hashes
REMEMBERED = 65_536  # lookups whose repetition does not count
MOMENT = 0.2  # seconds that figures wait for what is in the queue
END_SECONDS = 5.0


class Recorder:
    """Counts lookups while it runs; the figures stay when it has stopped.

    A lookup counts once, however often its id is looked up. When the queue is full a lookup is left out and
    counted as such: nobody waits.

    Args:
        recording: Keeps the hashes.
        capacity: Lookups that may wait.
        timeout: Seconds after which it stops by itself; 0 for never.
        target: Unique chunks at which it stops by itself; 0 for never.
    """

    def __init__(self, recording: Recording, capacity: int, timeout: float = 0.0, target: int = 0) -> None:
        self.running = False  # read without a lock: a lookup costs nothing while nothing is counted
        self._recording = recording
        self._capacity = capacity
        self._timeout = timeout
        self._target = target
        self._end: float | None = None
        self._changed = threading.Condition()  # guards all that follows; never held during work
        self._working = threading.Lock()  # held while one lookup is counted; taken before `_changed`
        self._thread: threading.Thread | None = None
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._queue: deque[tuple[array[int], str]] = deque()
        self._waiting_chunks = self._taken = self._done = 0
        self._requests = self._chunks = self._unique = 0
        self._full = self._longest = 0
        self.check_seconds = 0.0
        forks.remember(self)

    def start(self) -> None:
        """Begin to count, or go on; does nothing while it runs.

        Raises:
            OSError: The recording cannot begin.
            RuntimeError: There is no thread to be had.
        """
        with self._working:
            self._recording.open()
        with self._changed:
            if self.running:
                return
            self._end = time.monotonic() + self._timeout if self._timeout else None
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="lmcache-admin-statistics", daemon=True)
                thread.start()  # it waits for the lock that is held here
                self._thread = thread
            self.running = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Count what is in the queue and nothing more; the thread ends."""
        with self._changed:
            self.running = False
            thread = self._thread
            self._changed.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(END_SECONDS)

    def put(self, hashes: Sequence[int], lookup_id: str) -> None:
        """Take a lookup into the queue; returns at once."""
        with self._changed:
            if not self.running or self._known(lookup_id):
                return
            if len(self._queue) >= self._capacity or self._waiting_chunks + len(hashes) > MOST_CHUNKS:
                self._full += 1
                if self._full == 1:
                    logger.warning("The queue of chunk statistics is full: full_blocks counts what is left out")
                return
            self._seen[lookup_id] = None
            if len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)
            self._queue.append((array("q", hashes), lookup_id))
            self._taken += 1
            self._requests += 1
            self._waiting_chunks += len(hashes)
            self._longest = max(self._longest, len(self._queue))
            self._changed.notify_all()

    def reset(self) -> None:
        """Set all figures back and forget what is in the queue; whether it runs does not change."""
        with self._working:
            self._recording.reset()
            with self._changed:
                self._drop_queue()
                self._seen.clear()
                self._requests = self._chunks = self._unique = self._full = self._longest = 0

    def figures(self) -> dict[str, Any]:
        """Totals, the recording's figures and the queue's; waits a moment for what is in the queue."""
        with self._changed:
            goal = self._taken
            self._changed.wait_for(lambda: self._done >= goal, MOMENT)
            chunks, unique, waiting = self._chunks, self._unique, len(self._queue)
            totals = {
                "total_requests": self._requests,
                "total_chunks": chunks,
                "unique_chunks": unique,
                "duplicate_chunks": chunks - unique,
                "reuse_rate": (chunks - unique) / chunks if chunks else 0.0,
            }
            queue = {
                "capacity": self._capacity,
                "current_size": waiting,
                "max_size_reached": self._longest,
                "full_blocks": self._full,
                "utilization": waiting / self._capacity,
            }
        return {**totals, **self._recording.describe(), "async_queue": queue}

    def close(self) -> None:
        """Stop, and give memory and files back; the figures end."""
        forks.forget(self)
        self.stop()
        if self._working.acquire(timeout=END_SECONDS):  # a disk may hang
            self._recording.close()
            self._working.release()

    def leave_to_parent(self) -> None:
        """In a forked child: count nothing, the thread and the files are the parent's."""
        self._changed, self._working = threading.Condition(), threading.Lock()
        self.running, self._thread = False, None
        self._drop_queue()
        self._recording.close()

    def _known(self, lookup_id: str) -> bool:
        if lookup_id not in self._seen:
            return False
        self._seen.move_to_end(lookup_id)
        return True

    def _drop_queue(self) -> None:
        self._queue.clear()
        self._waiting_chunks = 0
        self._done = self._taken

    def _run(self) -> None:
        try:
            while self._waited():
                with self._working:
                    self._count_next()
        except Exception:  # statistics must not trouble whoever is counted
            logger.exception("Chunk statistics end: a lookup could not be counted")
            self._leave()

    def _waited(self) -> bool:
        """Wait for a lookup; False when there will be none."""
        with self._changed:
            left = None if self._end is None else max(0.0, self._end - time.monotonic())
            ready = self._changed.wait_for(lambda: self._queue or not self.running, left if self.running else None)
            if not ready:
                self._end_itself(f"{self._timeout / 3600:g} hours are over")
            if not self._queue and not self.running:
                self._thread = None
                return False
            return True

    def _count_next(self) -> None:
        with self._changed:
            if not self._queue:  # reset, or ended by time
                return
            hashes, lookup_id = self._queue.popleft()
            self._waiting_chunks -= len(hashes)
        new = self._recording.record(hashes, lookup_id) if hashes else 0
        began = time.perf_counter()
        with self._changed:
            self._chunks += len(hashes)
            self._unique += new
            self._done += 1
            if self.running and 0 < self._target <= self._unique:
                self._end_itself(f"{self._unique} unique chunks are counted")
            self._changed.notify_all()
            self.check_seconds += time.perf_counter() - began

    def _end_itself(self, why: str) -> None:
        self.running = False
        logger.warning("Chunk statistics end by themselves: %s", why)

    def _leave(self) -> None:
        with self._changed:
            self.running, self._thread = False, None
            self._drop_queue()
            self._changed.notify_all()
