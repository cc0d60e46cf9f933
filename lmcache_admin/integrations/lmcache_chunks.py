"""Chunk files of a folder, read by LMCache's own backend into the memory of its running engine."""

from __future__ import annotations

import asyncio
import logging
import stat
import threading
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

__all__ = ["LMCacheChunkSource", "open_source"]

logger = logging.getLogger(__name__)

LOADED, FAILED, SKIPPED, FULL = "loaded", "failed", "skipped", "full"
#: Seconds that the connector may take to close.
CLOSING = 10.0
#: How often, and how many seconds apart, memory is asked again when all of it is in use by requests.
TRIES, PAUSE = 20, 0.1


@dataclass
class _Reading:
    """What is known of the chunk that is being read, in the context of whoever reads it."""

    status: str = FAILED
    reason: str = "its header cannot be read, or it was not read in time; LMCache's log says more"
    nbytes: int = 0


_reading: ContextVar[_Reading | None] = ContextVar("lmcache_admin_chunk_reading", default=None)


def open_source(engine: Any, store: Mapping[str, Any]) -> LMCacheChunkSource | None:
    """Open a store as LMCache does; None if its connector cannot be made.

    Args:
        engine: LMCache's engine, ready.
        store: `remote_url`, `remote_serde` and `extra_config` of LMCache's configuration.

    Raises:
        Exception: Whatever LMCache's backend raises at its start.
    """
    from lmcache.v1.config import LMCacheEngineConfig
    from lmcache.v1.storage_backend.remote_backend import RemoteBackend

    storage = engine.storage_manager
    memory = _Memory(engine, storage.allocator_backend, store["extra_config"])
    config = LMCacheEngineConfig.from_dict({**store, "remote_url": _fs_url(store["remote_url"])})
    backend = RemoteBackend(config, engine.metadata, storage.loop, memory, "cpu")
    if backend.connection is None:
        return None
    return LMCacheChunkSource(engine, backend, memory)


class LMCacheChunkSource:
    """`ChunkSource` over LMCache's `RemoteBackend`.

    Args:
        engine: LMCache's engine.
        backend: The backend that reads, connected.
        memory: What it allocates from.
    """

    def __init__(self, engine: Any, backend: Any, memory: _Memory) -> None:
        self._engine = engine
        self._backend = backend
        self._memory = memory

    def keys(self) -> Sequence[str]:
        """Return every file's key.

        The connector lists a folder in one go: on a loop of its own, as under LMCache's own server, since the
        storage manager's loop has requests to serve meanwhile.
        """
        stems: list[str] = asyncio.run(self._backend.connection.list())
        return [stem.replace("-SEP-", "/") for stem in stems]

    def load(self, key: str, /) -> tuple[str, str]:
        """Load one chunk; see `ChunkSource.load`."""
        try:
            named = _parsed(key)
        except (KeyError, ValueError):
            return FAILED, "its name is no chunk key"
        refusal = self._refusal(named)
        if refusal is not None:
            return refusal
        if not self._memory.is_the_engines():
            return FULL, "the engine's memory was made anew, or closed, meanwhile"
        kept = self._kept_as(named)
        if self._memory.backend.contains(kept):
            return LOADED, ""
        if not self._is_regular(named):
            return FAILED, "it is no regular file"
        for _ in range(TRIES):
            status, reason = self._load(named, kept)
            if status != FULL or self._memory.at_its_end:
                break
            time.sleep(PAUSE)
        return status, reason

    def holds(self, key: str, /) -> bool:
        """Tell whether memory has the chunk at this moment."""
        held: bool = self._memory.backend.contains(self._kept_as(_parsed(key)))
        return held

    def close(self) -> None:
        """Close the connector, and give the engine's own remote backend its figures back."""
        for other in getattr(self._engine.storage_manager, "storage_backends", {}).values():
            if type(other) is type(self._backend):  # each one takes LMCache's gauges over when it is made
                other._setup_metrics()
        try:
            closing = asyncio.run_coroutine_threadsafe(self._backend.connection.close(), self._backend.loop)
            closing.result(CLOSING)
        except Exception as error:  # noqa: BLE001 - what was loaded is there all the same
            logger.warning("The connector of a chunk store did not close: %r", error)

    def _load(self, named: Any, kept: Any) -> tuple[str, str]:
        reading = _Reading()
        token = _reading.set(reading)  # the coroutine that reads runs in a copy of this thread's context
        try:
            chunk = self._backend.get_blocking(named)
        finally:
            _reading.reset(token)
        if chunk is None:
            self._memory.give_back(reading.nbytes)
            return reading.status, reading.reason
        try:
            self._memory.backend.submit_put_task(kept, chunk)
        finally:
            chunk.ref_count_down()  # ours; memory holds its own
        return LOADED, ""

    def _is_regular(self, key: Any) -> bool:
        """Whether a regular file has that name: for a pipe's writer LMCache would wait in a thread that it needs."""
        connection = self._backend.connection
        try:
            path = getattr(connection, "getWrappedConnector", lambda: connection)()._get_file_path(key)
            return stat.S_ISREG(path.stat().st_mode)
        except (AttributeError, OSError):  # that is for LMCache to say
            return True

    def _refusal(self, key: Any) -> tuple[str, str] | None:
        """Why a chunk of that name is none of this engine's; None if it is."""
        own = self._engine.metadata
        if key.model_name != own.model_name:
            return FAILED, f"it is of the model {key.model_name!r}, not {own.model_name!r}"
        if key.dtype != own.kv_dtype:
            return FAILED, f"its elements are {key.dtype}, not {own.kv_dtype}"
        workers = 1 if own.use_mla and self._saves_first_rank_only() else own.world_size
        if key.world_size != workers:
            return FAILED, f"it is of an engine of {key.world_size} workers, not {workers}"
        if key.worker_id != (0 if self._reads_worker_0 else own.worker_id):
            return SKIPPED, "another worker's"
        return None

    def _saves_first_rank_only(self) -> bool:
        return bool(self._engine.config.get_extra_config_value("save_only_first_rank", True))

    @property
    def _reads_worker_0(self) -> bool:
        """Whether this worker shares the chunks of worker 0, as those of an MLA model do."""
        return bool(getattr(self._backend, "_mla_worker_id_as0_mode", False))

    def _kept_as(self, key: Any) -> Any:
        return key.with_new_worker_id(self._engine.metadata.worker_id) if self._reads_worker_0 else key


class _Memory:
    """What LMCache's connector allocates from: the engine's memory, for chunks of its own layout.

    LMCache's `allocate` waits for room without an end, on the storage manager's loop, and drops every chunk there is
    for one that can never fit: a damaged header would stop the engine. Here nothing waits, and chunks that this load
    brought do not make way for others.

    Args:
        engine: LMCache's engine.
        backend: Its memory.
        extra: What the store's configuration says of its files; wins over the engine's.
    """

    def __init__(self, engine: Any, backend: Any, extra: Mapping[str, Any]) -> None:
        config = engine.config
        self.backend = backend
        self.metadata = engine.metadata
        self.config = SimpleNamespace(
            extra_config={**(config.extra_config or {}), **extra}, use_layerwise=config.use_layerwise
        )
        self.at_its_end = False
        self._engine = engine
        self._tokens = max(config.chunk_size, self.metadata.chunk_size)
        allocator = backend.memory_allocator
        self._capacity = getattr(allocator, "size", None) or int(config.max_local_cpu_size * 1024**3)
        self._align = getattr(allocator, "align_bytes", 1)
        self._taken = 0
        self._lock = threading.Lock()

    def allocate(self, shapes: Any, dtypes: Any, fmt: Any = None, eviction: bool = True, busy_loop: bool = True) -> Any:
        """Allocate one chunk, dropping others where that makes room at once; None if there is none.

        Raises:
            ValueError: The chunk is of another layout than the engine's.
        """
        reading = _reading.get() or _Reading()
        reading.reason = self._misfit(list(shapes), list(dtypes), fmt)
        if reading.reason:
            raise ValueError(reading.reason)
        size = sum(shape.numel() * dtype.itemsize for shape, dtype in zip(shapes, dtypes, strict=True))
        size += -size % self._align
        if not self._take(size):
            reading.status, reading.reason = FULL, "memory is full of chunks of this load"
            return None
        reading.nbytes = size
        chunk = self.backend.allocate(shapes, dtypes, fmt, eviction=eviction, busy_loop=False)
        if chunk is None:
            reading.status, reading.reason = FULL, "all memory is in use by requests"
        else:
            reading.reason = "its payload is shorter than its header says, or was not read in time"
        return chunk

    def is_the_engines(self) -> bool:
        """Whether the engine still uses this memory; an operator may have recreated its backend."""
        return getattr(self._engine.storage_manager, "allocator_backend", None) is self.backend

    def give_back(self, nbytes: int) -> None:
        """Count a chunk that was allocated and then could not be read no more."""
        with self._lock:
            self._taken -= nbytes

    def _take(self, nbytes: int) -> bool:
        with self._lock:
            if self._taken + nbytes > self._capacity:
                self.at_its_end = True
                return False
            self._taken += nbytes
            return True

    def _misfit(self, shapes: list[Any], dtypes: list[Any], fmt: Any) -> str:
        """What is wrong with a chunk's layout; empty if nothing is."""
        from lmcache.v1.memory_management import MemoryFormat

        tokens = shapes[0][2] if len(shapes[0]) == 4 else 0
        own = self.metadata.get_shapes(tokens), self.metadata.get_dtypes()
        known = MemoryFormat.KV_MLA_FMT if self.metadata.use_mla else MemoryFormat.KV_2LTD
        if (shapes, dtypes) != own:
            return f"its layout is {_shown(shapes, dtypes)}, not {_shown(*own)}"
        if fmt != known:
            return f"its memory format is {getattr(fmt, 'name', fmt)}, not {known.name}"
        if not 1 <= tokens <= self._tokens:
            return f"it has {tokens} tokens, a chunk of this engine {self._tokens} at most"
        return ""


def _parsed(key: str) -> Any:
    from lmcache.utils import CacheEngineKey

    return CacheEngineKey.from_string(key)


def _shown(shapes: Sequence[Any], dtypes: Sequence[Any]) -> str:
    return ", ".join(f"{list(shape)} {dtype}" for shape, dtype in zip(shapes, dtypes, strict=True))


def _fs_url(url: str) -> str:
    """`file://` as LMCache calls it; host and port mean nothing, but it wants both."""
    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    return f"fs://{host or 'localhost'}:0/{path}" if scheme == "file" else url
