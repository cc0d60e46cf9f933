"""The scheduler's side: asks every worker, and believes the one that has least."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import cachetools

from lmcache_admin import forks
from lmcache_admin.engine.chunks import tags_of
from lmcache_admin.engine.lookup.frames import FrameError, frame
from lmcache_admin.engine.lookup.line import Question, UnansweredError, WorkerLine
from lmcache_admin.engine.lookup.protocol import VERSION, HashedTokens, RequestConfigs

logger = logging.getLogger(__name__)

REMEMBERED = 16_384  # lookups whose outcome `lookup_cache` knows


class LookupClient:
    """Finds the longest prefix that all workers have stored; every method may be called by any thread.

    Only hashes go to the workers, never tokens. A worker that does not answer in time counts as one that has
    nothing; the next lookup connects anew.

    Args:
        paths: Worker to its socket; each is asked.
        chunk_size: Tokens per chunk, the same as the workers'.
        timeout: Seconds for one lookup over all workers.
        partial: Says whether a last, shorter chunk counts; asked at each lookup.
    """

    def __init__(
        self, paths: Mapping[int, str], chunk_size: int, timeout: float, partial: Callable[[], bool] = bool
    ) -> None:
        self._lines = [WorkerLine(worker_id, path, timeout) for worker_id, path in paths.items()]
        self._chunk_size = chunk_size
        self._timeout = timeout
        self._partial = partial
        self._found: cachetools.LRUCache[str, int] = cachetools.LRUCache(REMEMBERED)
        self._lock = threading.Lock()  # guards `_found`
        forks.remember(self)

    def lookup(self, token_ids: Any, lookup_id: str, request_configs: RequestConfigs = None) -> int:
        """Ask the workers.

        Args:
            token_ids: List, array or tensor of token ids.
            lookup_id: The request's name, for `lookup_cache`.
            request_configs: The request's settings; those named `lmcache.tag.…` are part of the chunks' keys.

        Returns:
            Tokens of the longest prefix that every worker has; 0 where one does not answer.
        """
        return self.lookup_hashed(self.hashed(token_ids), lookup_id, request_configs)

    def hashed(self, token_ids: Any) -> HashedTokens:
        """The prompt's hashes, as they go to the workers."""
        return HashedTokens.of(token_ids, self._chunk_size, partial=self._partial())

    def lookup_hashed(self, prompt: HashedTokens, lookup_id: str, request_configs: RequestConfigs = None) -> int:
        """As `lookup`, of tokens that are hashed already."""
        found = self._ask(prompt, request_configs) if prompt.hashes else 0
        with self._lock:
            self._found[lookup_id] = found
        return found

    def lookup_cache(self, lookup_id: str) -> int:
        """What the last lookup of that id found; -1 if there was none, or it is long ago."""
        with self._lock:
            return self._found.get(lookup_id, -1)

    def clear_lookup_status(self, lookup_id: str) -> None:
        """Forget what a lookup found."""
        with self._lock:
            self._found.pop(lookup_id, None)

    def supports_producer_reuse(self) -> bool:
        """Yes: what one request has stored, the next may use."""
        return True

    def close(self) -> None:
        """Close the connections; from then on nothing is found. May be called twice."""
        forks.forget(self)
        for line in self._lines:
            line.close()

    def leave_to_parent(self) -> None:
        """In a forked child: connect anew, the connections are the parent's."""
        self._lock = threading.Lock()
        for line in self._lines:
            line.leave_to_parent()

    def _ask(self, prompt: HashedTokens, request_configs: RequestConfigs) -> int:
        deadline = time.monotonic() + self._timeout
        questions: list[Question] = []
        try:
            message = frame(_message(prompt, dict(tags_of(request_configs))))
            for line in self._lines:
                questions.append(line.question(message, deadline))
            for question in questions:
                question.ask()
            return min(question.answer() for question in questions)
        except UnansweredError:
            return 0
        except FrameError as error:
            logger.warning("A lookup was not sent: %s", error)
            return 0
        finally:
            for question in questions:
                question.end()


def _message(prompt: HashedTokens, tags: dict[str, str]) -> dict[str, Any]:
    message: dict[str, Any] = {
        "version": VERSION,
        "chunk_size": prompt.chunk_size,
        "last": prompt.last,
        "hashes": prompt.hashes,
    }
    return {**message, "tags": tags} if tags else message
