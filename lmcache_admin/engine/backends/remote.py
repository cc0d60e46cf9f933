"""Chunks in a store that other processes and machines share, LMCache's among them."""

from __future__ import annotations

import logging
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import TypeVar

from lmcache_admin.engine.backends.files import chunk_name
from lmcache_admin.engine.backends.protocol import Counters, OnRemoved
from lmcache_admin.engine.chunks import Chunk, ChunkKey, Layout
from lmcache_admin.engine.configuration import Configuration
from lmcache_admin.engine.errors import (
    ChunkFileError,
    CorruptChunkError,
    NewerFormatError,
    StorageError,
    UnsuitableChunkError,
)
from lmcache_admin.engine.remote.health import Health
from lmcache_admin.engine.remote.opening import open_store
from lmcache_admin.engine.remote.protocol import Scope, Store, StoreDownError, StoreRefusedError
from lmcache_admin.engine.shape import CacheShape

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
VOUCHED = 65536  # chunks whose wholeness this process remembers


class RemoteBackend:
    """Keeps chunks in a store; without it every get is a miss and every put fails, until it is back.

    Args:
        store: Where.
        layout: The engine's; part of the names that `clear` returns.
        scope: Which chunks `clear` removes.
        shared_rank: Whether all workers share the chunks of worker 0, as LMCache's do with MLA.
    """

    durable = True

    def __init__(self, store: Store, layout: Layout, scope: Scope, *, shared_rank: bool = False) -> None:
        self._store = store
        self._layout = layout
        self._scope = scope
        self._shared_rank = shared_rank
        self._health = Health(store.place)
        self._lock = threading.Lock()
        self._counters = Counters()
        self._vouched: OrderedDict[ChunkKey, Hashable] = OrderedDict()
        self._closed = False

    def put(self, key: ChunkKey, chunk: Chunk) -> bool:
        """Keep the chunk; True once the store has all of it."""
        key = self._shared(key)
        try:
            mark = self._ask(lambda: self._store.write(key, chunk), None)
        except (StoreRefusedError, UnsuitableChunkError) as error:
            self._refuse(key, error)
            mark = None
        if key.reserved:
            return mark is not None
        if mark is not None:
            self._health.took()
            self._vouch(key, mark)
        self._count("put_failures" if mark is None else "puts")
        return mark is not None

    def get(self, key: ChunkKey) -> Chunk | None:
        """The chunk, or None; a damaged one is taken out of view and is a miss, one that does not fit is a miss."""
        chunk = self._read(self._shared(key))
        if not key.reserved:
            self._count("misses" if chunk is None else "hits")
        return chunk

    def contains(self, key: ChunkKey) -> bool:
        """Whether there is something under the key, whoever wrote it."""
        key = self._shared(key)
        return self._try("lookup", lambda: self._store.exists(key), False)

    def confirm(self, key: ChunkKey) -> bool:
        """Whether the chunk is there, whole and on the medium.

        What this process has written or read is not read again as long as its mark is the same.
        """
        key = self._shared(key)
        mark = self._try("lookup", lambda: self._store.mark(key), None)
        if mark is None:
            return False
        if self._vouched.get(key) != mark:
            if self._read(key) is None or not self._try("sync", lambda: self._settle(key), False):
                return False
            self._vouch(key, mark)
        return True

    def touch(self, keys: Iterable[ChunkKey]) -> None:
        """Nothing to do: what goes first is the store's own affair."""

    def remove(self, key: ChunkKey) -> bool:
        """Drop one chunk; whether it was there."""
        key = self._shared(key)
        self._disown(key)
        return self._try("removal", lambda: self._store.remove(key), False)

    def clear(self, on_removed: OnRemoved | None = None) -> dict[str, int]:
        """Remove the chunks of this engine's model, world size and element type; nothing else in the store.

        Raises:
            StorageError: The store does not answer or refuses; what was removed until then stays removed.
        """
        cleared: dict[str, int] = {}
        with self._lock:
            self._vouched.clear()
        batches = self._store.purge(self._scope)
        while not self._closed and (batch := self._next(batches)) is not None:
            cleared |= {chunk_name(key, self._layout): tokens for key, tokens in batch.items()}
            if on_removed is not None:
                on_removed(len(batch))
        return cleared

    def keys(self) -> Iterator[str]:
        """Text of every chunk's key in the store, in no order, and of what only looks like one.

        Raises:
            StoreError: The store cannot be listed.
        """
        return self._store.keys()

    def room(self, nbytes: int) -> int:
        """No limit of ours."""
        return sys.maxsize

    def stats(self) -> dict[str, int]:
        """Counters alone: how many chunks there are others change, and asking for figures must not wait."""
        with self._lock:
            return asdict(self._counters)

    def close(self) -> None:
        """Take and give nothing more; the chunks stay."""
        self._closed = True
        self._store.close()

    def _ask(self, act: Callable[[], Result], otherwise: Result, *, insist: bool = False) -> Result:
        """Ask the store, unless it is known not to answer and nobody insists; what it refuses is raised."""
        if self._closed or not (self._health.allows() or insist):
            return otherwise
        try:
            result = act()
        except StoreDownError as error:
            if not self._closed:
                self._health.down(error)
            return otherwise
        except (StoreRefusedError, ChunkFileError):
            self._health.answered()
            raise
        self._health.answered()
        return result

    def _try(self, what: str, act: Callable[[], Result], otherwise: Result) -> Result:
        """Ask the store; what it refuses is remarked on now and then."""
        try:
            return self._ask(act, otherwise)
        except StoreRefusedError as error:
            self._health.remark(f"{what} refused", error)
            return otherwise

    def _next(self, batches: Iterator[Mapping[ChunkKey, int]]) -> Mapping[ChunkKey, int] | None:
        down: Mapping[ChunkKey, int] | None = {}
        try:
            batch = self._ask(lambda: next(batches, None), down, insist=True)
        except StoreRefusedError as error:
            raise StorageError(f"{self._store.place} cannot be cleared: {error}") from error
        if batch is down and not self._closed:
            raise StorageError(f"{self._store.place} cannot be cleared: it does not answer")
        return batch

    def _refuse(self, key: ChunkKey, error: StoreRefusedError | UnsuitableChunkError) -> None:
        """Say why a chunk was not taken: a short one by its form, any by a store that is full or read-only."""
        if isinstance(error, UnsuitableChunkError):
            self._health.remark("chunk not taken", error)
        elif not key.reserved:  # a probe's small chunk may find room where no other does
            self._health.refused(error)

    def _read(self, key: ChunkKey) -> Chunk | None:
        chunk = None
        try:
            chunk = self._try("read", lambda: self._store.read(key), None)
        except CorruptChunkError as error:
            self._set_aside(key, error)
        except NewerFormatError as error:
            self._count("newer_format")
            self._health.remark("checksum of a later version", error)
        except UnsuitableChunkError as error:
            self._health.remark("chunk of another form", error)
        if chunk is None:
            self._disown(key)
        return chunk

    def _set_aside(self, key: ChunkKey, error: CorruptChunkError) -> None:
        if self._try("removal", lambda: self._store.set_aside(key), False):
            self._count("corrupt")
            logger.error("Chunk %r in %s is corrupt and was taken away: %s", key.text, self._store.place, error)
        else:
            self._health.remark("corrupt chunk that is still there, or was replaced", error)

    def _settle(self, key: ChunkKey) -> bool:
        self._store.settle(key)
        return True

    def _vouch(self, key: ChunkKey, mark: Hashable) -> None:
        if key.reserved:
            return
        with self._lock:
            self._vouched[key] = mark
            self._vouched.move_to_end(key)
            if len(self._vouched) > VOUCHED:
                self._vouched.popitem(last=False)

    def _disown(self, key: ChunkKey) -> None:
        with self._lock:
            self._vouched.pop(key, None)

    def _count(self, what: str) -> None:
        with self._lock:
            setattr(self._counters, what, getattr(self._counters, what) + 1)

    def _shared(self, key: ChunkKey) -> ChunkKey:
        return key._replace(worker_id=0) if self._shared_rank and not key.reserved else key


def open_remote(config: Configuration, layout: Layout) -> RemoteBackend:
    """The backend that a configuration's `remote_url` names; whether a server answers shows when it is asked.

    Raises:
        StorageError: The URL, or a key beside it, cannot be used, a folder cannot be made, or an optional
            package is missing.
    """
    store = open_store(config, layout)
    shape = CacheShape.from_configuration(config)
    one_copy = bool(config.get_extra_config_value("remote_enable_mla_worker_id_as0", True))
    scope = Scope(shape.model_name, shape.world_size, layout.dtype)
    return RemoteBackend(store, layout, scope, shared_rank=one_copy and layout.planes == 1 and shape.world_size > 1)
