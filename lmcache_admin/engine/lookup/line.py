"""The way to one worker's lookup server: kept connections, one question at a time on each, and what is said of it."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import deque

from lmcache_admin.engine.lookup.frames import FrameError, left, receive, send
from lmcache_admin.engine.lookup.place import peer_is_trusted
from lmcache_admin.socket_files import reason

logger = logging.getLogger(__name__)

QUEUE_PAUSE = 0.002  # seconds between attempts while more connect than the worker has taken yet
IDLE = 8  # connections that are kept for the next lookup
NEW_CONNECTIONS = 20  # that one question tries: a server that is replaced resets what it has not accepted yet


class UnansweredError(Exception):
    """A worker did not answer; the line has said so where it is news."""


class WorkerLine:
    """Connects to one worker when it is needed, and says once when the worker stops answering and when it is back.

    After a time-out the worker counts as silent for `pause` seconds without being asked: a scheduler does not
    wait in vain again and again.

    Args:
        worker_id: Number of the worker.
        path: Its socket.
        pause: Seconds.
    """

    def __init__(self, worker_id: int, path: str, pause: float) -> None:
        self.worker_id = worker_id
        self.path = path
        self._pause = pause
        self._paused_until = 0.0
        self._idle: deque[socket.socket] = deque()
        self._closed = False
        self._lock = threading.Lock()  # held for bookkeeping only
        self._trouble: str | None = None
        self._missed = 0

    def question(self, message: bytes, deadline: float) -> Question:
        """Connect for one lookup.

        Args:
            message: A frame.
            deadline: By `time.monotonic`.

        Raises:
            UnansweredError: The worker cannot be reached, or is not asked for the moment.
        """
        if self._closed or time.monotonic() < self._paused_until:
            raise self.failed("it is left alone for the moment")
        try:
            return Question(self, self._idle.pop(), message, deadline, fresh=False)
        except IndexError:
            return Question(self, self.connect(deadline), message, deadline, fresh=True)

    def connect(self, deadline: float) -> socket.socket:
        """A new connection.

        Raises:
            UnansweredError: There is none to be had.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _connect(sock, self.path, deadline)
            if not peer_is_trusted(sock):
                raise PermissionError(0, "Another user serves it")
        except OSError as error:
            sock.close()
            raise self.failed(reason(error), slow=isinstance(error, TimeoutError)) from None
        return sock

    def keep(self, sock: socket.socket) -> None:
        """Take a connection back on which nothing is under way."""
        with self._lock:
            if not self._closed and len(self._idle) < IDLE:
                self._idle.append(sock)
                return
        sock.close()

    def failed(self, why: str, *, slow: bool = False) -> UnansweredError:
        """Note that a lookup was not answered; the exception to raise."""
        with self._lock:
            news, self._trouble = self._trouble is None and not self._closed, why
            self._missed += 1
            if slow:
                self._paused_until = time.monotonic() + self._pause
        if news:
            logger.warning(
                "Worker %d does not answer lookups on %r (%s); they count as misses until it does",
                self.worker_id,
                self.path,
                why,
            )
        return UnansweredError(why)

    def answered(self) -> None:
        """Note that a lookup was answered."""
        if self._trouble is None:
            return
        with self._lock:
            news, self._trouble = self._trouble is not None, None
            missed, self._missed, self._paused_until = self._missed, 0, 0.0
        if news:
            logger.info("Worker %d answers lookups again; %d counted as misses", self.worker_id, missed)

    def close(self) -> None:
        """Close what is kept; a lookup that is under way ends by itself."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, deque()
        for sock in idle:
            sock.close()

    def leave_to_parent(self) -> None:
        """In a forked child: the connections are the parent's."""
        self._lock = threading.Lock()
        idle, self._idle = self._idle, deque()
        for sock in idle:
            sock.close()


def _connect(sock: socket.socket, path: str, deadline: float) -> None:
    """Connect by `deadline`; a Unix socket with a time-out does not wait for a place in a full queue by itself."""
    while True:
        sock.settimeout(left(deadline))
        try:
            sock.connect(path)
        except BlockingIOError:
            time.sleep(QUEUE_PAUSE)
        else:
            return


class Question:
    """One message to one worker and its answer.

    A kept connection may have been closed by the worker meanwhile, and a new one may have come to a server that
    another takes the place of: then the message goes over the next new one.

    Args:
        line: The way to the worker.
        sock: A connection.
        message: A frame.
        deadline: By `time.monotonic`.
        fresh: Whether the connection is new.
    """

    def __init__(self, line: WorkerLine, sock: socket.socket, message: bytes, deadline: float, *, fresh: bool) -> None:
        self._line = line
        self._sock = sock
        self._message = message
        self._deadline = deadline
        self._new = int(fresh)  # connections that were made for this question
        self._under_way = False

    def ask(self) -> None:
        """Send the message.

        Raises:
            UnansweredError: The worker is gone, or the time is over.
        """
        self._under_way = True
        try:
            send(self._sock, self._message, self._deadline)
        except OSError as error:
            self._again(error)

    def answer(self) -> int:
        """Receive what the worker found, in tokens.

        Raises:
            UnansweredError: No answer in time, or one that says why there is none.
        """
        while True:
            try:
                answer = receive(self._sock, self._deadline)
            except (OSError, FrameError) as error:
                self._again(error)
            else:
                self._under_way = False
                break
        found = answer.get("tokens")
        if not isinstance(found, int) or found < 0:
            raise self._line.failed(f"it says {str(answer.get('error'))[:200]!r}")
        self._line.answered()
        return found

    def end(self) -> None:
        """Give the connection back, or close it when an answer may still come."""
        if self._under_way:
            self._sock.close()
        else:
            self._line.keep(self._sock)

    def _again(self, error: OSError | FrameError) -> None:
        """Send the message once more if the connection has ended before an answer came."""
        tried = self._new >= NEW_CONNECTIONS or (self._new > 0 and not isinstance(error, ConnectionError))
        if tried or isinstance(error, TimeoutError | FrameError):
            why = reason(error)
            raise self._line.failed(why, slow=isinstance(error, TimeoutError)) from None
        self._sock.close()
        self._sock = self._line.connect(self._deadline)
        self._new += 1
        self.ask()
