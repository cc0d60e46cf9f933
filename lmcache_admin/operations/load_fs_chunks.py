"""Loading the chunks of a store into the engine's memory: several at a time, bad ones counted and left out."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lmcache_admin.errors import Conflict, Detail, Failure
from lmcache_admin.host.missing import missing_part
from lmcache_admin.host.protocols import ChunkSource, Engine, Runtime
from lmcache_admin.jobs import Job

__all__ = ["MAX_LISTED", "THREADS", "Wanted", "load"]

logger = logging.getLogger(__name__)

#: Chunks that are read at the same time: no more of them lie in memory besides those that are loaded.
THREADS = 4
#: Most failed keys that an answer lists.
MAX_LISTED = 1000


@dataclass(frozen=True)
class Wanted:
    """What the request asks for.

    Args:
        config_path: As the request has it, for the answer.
        max_chunks: So many chunks of the store; None, 0: all; a negative number leaves out so many.
        max_failed_keys: So many failed keys are listed, of the first `MAX_LISTED`; negative: all but so many.
    """

    config_path: str
    max_chunks: int | None
    max_failed_keys: int


def load(runtime: Runtime, engine: Engine, store: Mapping[str, Any], wanted: Wanted, job: Job) -> dict[str, Any]:
    """Load chunks and return how many were loaded, and which were not and why.

    It ends early when memory has no room for more: chunks that this call has loaded do not make way for others.

    Args:
        runtime: Opens the store.
        engine: Into whose memory the chunks go.
        store: Which store, from `read_store_file`.
        wanted: How many chunks.
        job: Counts chunks, each bad one as an error; can be cancelled between two.

    Raises:
        Detail: 500, the store cannot be opened or listed.
        Conflict: The engine's memory takes no chunks.
        Failure: 500, it failed in another way.
    """
    try:
        with _opened(runtime, engine, store) as source:
            _check_memory(engine)
            keys = _listed(source)
            chosen = keys[: wanted.max_chunks] if wanted.max_chunks else keys
            job.begin(len(chosen), "chunks")
            loading = _Loading(source, chosen, job)
            loading.run()
            return _answer(source, keys, loading.tally, wanted)
    except Failure:
        raise
    except Exception as error:
        if missing_part(error) is not None:
            raise
        logger.exception("Loading chunks failed")
        text = {"error": "Failed to load chunks from FSConnector", "message": str(error)}
        raise Failure(500, {**text, "config_path": wanted.config_path}) from error


@contextmanager
def _opened(runtime: Runtime, engine: Engine, store: Mapping[str, Any]) -> Iterator[ChunkSource]:
    try:
        source = runtime.open_chunk_source(engine, store)
    except Exception as error:
        if missing_part(error) is not None:
            raise
        logger.warning("The chunk store of a request cannot be opened", exc_info=True)
        raise Detail(500, f"Failed to initialize RemoteBackend: {error}") from error
    if source is None:
        raise Detail(500, "FSConnector not initialized")
    try:
        yield source
    finally:
        source.close()


def _check_memory(engine: Engine) -> None:
    """LMCache takes chunks in while its hot cache is off, and never lets them go again: memory would stay full."""
    if not engine.is_hot_cache_enabled():
        raise Conflict("the hot cache is off; PUT /hot_cache/enable turns it on")


def _listed(source: ChunkSource) -> Sequence[str]:
    try:
        return source.keys()
    except Exception as error:
        logger.warning("The chunk store of a request cannot be listed", exc_info=True)
        raise Detail(500, f"Chunk loading failed: {error}") from error


class _Tally:
    """What became of each chunk.

    Args:
        job: Told of each that failed.
    """

    def __init__(self, job: Job) -> None:
        self.loaded: list[str] = []
        self.failed: dict[str, str] = {}  # the first, with their reasons
        self.failed_count = 0
        self.skipped: Counter[str] = Counter()  # by reason
        self._job = job
        self._lock = threading.Lock()

    def note(self, key: str, status: str, reason: str) -> None:
        """Note the result of one `ChunkSource.load`."""
        with self._lock:
            if status == "loaded":
                self.loaded.append(key)
            elif status == "failed":
                self.failed_count += 1
                if len(self.failed) < MAX_LISTED:
                    self.failed[key] = reason
            else:
                self.skipped[reason] += 1
        if status == "failed":
            self._job.fail(key, reason)


class _Loading:
    """Several threads that load chunks from one list, each the next one."""

    def __init__(self, source: ChunkSource, keys: Sequence[str], job: Job) -> None:
        self.tally = _Tally(job)
        self.full: str | None = None
        self.error: BaseException | None = None
        self._source, self._job = source, job
        self._pending = iter(keys)
        self._lock = threading.Lock()
        self._ended = False

    def run(self) -> None:
        """Load until the list is at its end, memory is full, the job is cancelled or a thread fails."""
        names = [f"lmcache-admin-load-{number}" for number in range(THREADS)]
        threads = [threading.Thread(target=self._work, name=name, daemon=True) for name in names]
        try:
            for thread in threads:
                thread.start()
        except RuntimeError:  # the machine has no thread left
            self._ended = True
            raise
        finally:
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
        if self.error is not None:
            raise self.error
        if self.full is not None:
            self.tally.skipped[self.full] += sum(1 for _ in self._pending)

    def _work(self) -> None:
        try:
            while (key := self._next()) is not None:
                status, reason = self._load(key)
                self.tally.note(key, status, reason)
                if status == "full":
                    self._ended, self.full = True, reason
                self._job.advance()
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits for this thread
            self._ended, self.error = True, error

    def _next(self) -> str | None:
        with self._lock:
            return None if self._ended else next(self._pending, None)

    def _load(self, key: str) -> tuple[str, str]:
        try:
            return self._source.load(key)
        except Exception as error:  # one bad chunk, whatever is wrong with it, must not end the others
            logger.warning("The chunk %r cannot be loaded", key[:500], exc_info=True)
            return "failed", f"{type(error).__name__}: {error}"


def _answer(source: ChunkSource, keys: Sequence[str], tally: _Tally, wanted: Wanted) -> dict[str, Any]:
    listed = list(tally.failed)[: wanted.max_failed_keys]
    return {
        "status": "success",
        "loaded_chunks": len(tally.loaded),
        "total_files": len(keys),
        "failed_keys": listed,
        "config_path": wanted.config_path,
        "failed_chunks": tally.failed_count,
        "failed_reasons": {key: tally.failed[key] for key in listed},
        "skipped_chunks": tally.skipped.total(),
        "skipped_reasons": dict(tally.skipped),
        "evicted_chunks": sum(not source.holds(key) for key in tally.loaded),
    }
