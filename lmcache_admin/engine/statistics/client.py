"""The lookup client's wrapper that counts: how many chunks are looked up, and how many of them again."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from lmcache_admin.engine.lookup.protocol import Client, HashedTokens, RequestConfigs
from lmcache_admin.engine.statistics.options import StatisticsOptions
from lmcache_admin.engine.statistics.recorder import Recorder
from lmcache_admin.engine.statistics.recordings import recording

logger = logging.getLogger(__name__)


class ChunkStatisticsLookupClient:
    """Looks up as the client that it wraps, and counts while statistics are on; off, it costs nothing.

    Args:
        actual_lookup_client: Who is asked.
        options: How to count.
    """

    def __init__(self, actual_lookup_client: Client, options: StatisticsOptions) -> None:
        self.actual_lookup_client = actual_lookup_client
        self._recorder = Recorder(recording(options), options.capacity, options.timeout, options.target)
        self._lookup_seconds = self._record_seconds = 0.0
        self._lock = threading.Lock()  # guards the two sums
        if options.auto_start:
            try:
                self.start_statistics()
            except (OSError, RuntimeError) as error:
                logger.warning("Chunk statistics do not start: %s", error)

    def lookup(self, token_ids: Any, lookup_id: str, request_configs: RequestConfigs = None) -> int:
        """Tokens of the longest prefix that every worker has stored."""
        if not self._recorder.running:
            return self.actual_lookup_client.lookup(token_ids, lookup_id, request_configs)
        return self.lookup_hashed(self.hashed(token_ids), lookup_id, request_configs)

    def lookup_hashed(self, prompt: HashedTokens, lookup_id: str, request_configs: RequestConfigs = None) -> int:
        """As `lookup`, of tokens that are hashed already."""
        if not self._recorder.running:
            return self.actual_lookup_client.lookup_hashed(prompt, lookup_id, request_configs)
        began = time.perf_counter()
        found = self.actual_lookup_client.lookup_hashed(prompt, lookup_id, request_configs)
        answered = time.perf_counter()
        self._recorder.put(prompt.counted, lookup_id)
        ended = time.perf_counter()
        with self._lock:
            self._lookup_seconds += answered - began
            self._record_seconds += ended - answered
        return found

    def start_statistics(self) -> None:
        """Begin to count, or go on where it was stopped.

        Raises:
            OSError: The folder of the hash files cannot be had.
            RuntimeError: There is no thread to be had.
        """
        self._recorder.start()

    def stop_statistics(self) -> None:
        """Count no more; the figures stay."""
        self._recorder.stop()

    def reset_statistics(self) -> None:
        """Set the figures back, but the timing and whether it counts, as LMCache does."""
        self._recorder.reset()

    def get_statistics(self) -> dict[str, Any]:
        """The figures in LMCache's form and order; waits a fifth of a second at most for what is in the queue.

        `full_blocks` are lookups that were left out since the queue was full. The overhead is what lookups
        themselves pay; `check_exit_conditions_time_seconds` is spent beside them.
        """
        figures = self._recorder.figures()
        with self._lock:
            lookup, record, check = self._lookup_seconds, self._record_seconds, self._recorder.check_seconds
        total, overhead = lookup + record + check, record + check
        timing = {
            "lookup_time_seconds": lookup,
            "record_statistics_time_seconds": record,
            "check_exit_conditions_time_seconds": check,
            "total_time_seconds": total,
            "overhead_time_seconds": overhead,
            "overhead_percentage": overhead / total * 100 if total else 0.0,
        }
        requests = figures.pop("total_requests")
        return {"enabled": self._recorder.running, "total_requests": requests, "timing": timing, **figures}

    def hashed(self, token_ids: Any) -> HashedTokens:
        """The prompt's hashes."""
        return self.actual_lookup_client.hashed(token_ids)

    def lookup_cache(self, lookup_id: str) -> int:
        """What the last lookup of that id found; -1 if there was none."""
        return self.actual_lookup_client.lookup_cache(lookup_id)

    def clear_lookup_status(self, lookup_id: str) -> None:
        """Forget what a lookup found; it stays counted."""
        self.actual_lookup_client.clear_lookup_status(lookup_id)

    def supports_producer_reuse(self) -> bool:
        """Whether a producer may use stored prefixes too."""
        return self.actual_lookup_client.supports_producer_reuse()

    def close(self) -> None:
        """Stop counting, and close the client that is asked."""
        self._recorder.close()
        self.actual_lookup_client.close()
