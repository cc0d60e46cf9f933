"""The embedded engine: stores KV chunks of token runs, finds them again by prefix, and gives them back."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import tee
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmcache_admin.engine.arrays import Array, ArrayConnector, Slots
from lmcache_admin.engine.backends.protocol import OnRemoved
from lmcache_admin.engine.chunk_source import FolderChunkSource, open_source
from lmcache_admin.engine.chunks import ChunkKey, chunk_hashes, tags_of
from lmcache_admin.engine.configuration import Configuration
from lmcache_admin.engine.metadata import Metadata
from lmcache_admin.engine.storage import MEMORY, StorageManager
from lmcache_admin.engine.transfer import Piece, Reader, Writer

logger = logging.getLogger(__name__)

Span = tuple[int, int, ChunkKey]
Caches = Sequence[Array] | dict[str, Array] | None


class Engine:
    """A worker's cache of KV chunks; every method may be called by any thread.

    Args:
        config: Read at each call where a key can take effect at once.
        metadata: Model and place, part of each chunk's key.
        storage_manager: The backends.
        gpu_connector: The KV caches.
    """

    def __init__(
        self,
        config: Configuration,
        metadata: Metadata,
        storage_manager: StorageManager,
        gpu_connector: ArrayConnector,
    ) -> None:
        self.config = config
        self.metadata = metadata
        self.storage_manager: StorageManager | None = storage_manager
        self.gpu_connector = gpu_connector
        self.kvcache_check_log_enabled = False
        self._frozen = False

    def store(
        self,
        tokens: Sequence[int] | Array,
        slot_mapping: Sequence[int] | Array | None = None,
        kvcaches: Caches = None,
        req_id: str | None = None,
    ) -> int:
        """Store the KV bytes of each whole chunk of the tokens, in every backend that takes part.

        Args:
            tokens: Token ids. A last, shorter chunk is left out unless `save_unfull_chunk`.
            slot_mapping: Slot of each token, None for 0 to N - 1; see `ArrayConnector.slots`.
            kvcaches: Arrays of the layers in order, None for the engine's own.
            req_id: Only for the log.

        Returns:
            Tokens acknowledged, 0 while frozen: those of the chunks that this call wrote to, or found whole in,
            every backend that outlives the process, else memory. What comes after a chunk that a backend
            could not take does not count, even if an earlier call stored it: a retrieve would not reach it.

        Raises:
            ValueError: Slots or KV caches that do not fit. RuntimeError: The engine is closed.
        """
        ids, caches, slots = self._arguments("store", tokens, slot_mapping, kvcaches, req_id)
        writer = self._writer()
        if self._frozen:
            return 0
        spans = list(self._spans(ids))
        writer.write([self._piece(span, caches, slots) for span in spans])
        writer.finish()
        return sum(end - start for start, end, key in spans if writer.acknowledged(key))

    def retrieve(
        self,
        tokens: Sequence[int] | Array,
        slot_mapping: Sequence[int] | Array | None = None,
        kvcaches: Caches = None,
        req_id: str | None = None,
    ) -> NDArray[np.bool_]:
        """Copy the longest stored prefix back into the slots; arguments as in `store`.

        Returns:
            One element per token, True where it was loaded.

        Raises:
            ValueError: Slots or KV caches that do not fit.
            RuntimeError: The engine is closed.
        """
        ids, caches, slots = self._arguments("retrieve", tokens, slot_mapping, kvcaches, req_id)
        loaded = np.zeros(len(ids), dtype=np.bool_)
        reader = self._reader()
        spans, ahead = tee(self._spans(ids))
        for (start, end, _), chunk in zip(spans, reader.read(key for *_, key in ahead), strict=False):
            if chunk.tokens != end - start:
                break
            self.gpu_connector.scatter(caches, slots[start:end], chunk)
            loaded[start:end] = True
        reader.finish()
        return loaded

    def lookup(
        self,
        tokens: Sequence[int] | Array | None = None,
        search_range: Sequence[str] | None = None,
        *,
        hashes: Sequence[int] | None = None,
        offsets: Sequence[int] = (),
        request_configs: Mapping[str, Any] | None = None,
    ) -> int:
        """Find the longest prefix whose chunks are stored in backends that take part.

        Args:
            tokens: Token ids.
            search_range: Names of the backends to look into, None for those that are read.
            hashes: In place of tokens: the chained hash of each chunk, as a scheduler has it.
            offsets: With hashes: the tokens of each chunk.
            request_configs: A request's settings; its tags are part of the keys.

        Returns:
            Tokens of that prefix.
        """
        storage = self._storage()
        names = self._readable() if search_range is None else search_range
        tags = tags_of(request_configs)
        ids = _listed(() if tokens is None else tokens)
        spans = self._spans(ids) if hashes is None else self._given(hashes, offsets)
        found = 0
        for _, end, key in spans:
            if storage.contains(key._replace(tags=tags) if tags else key, names) is None:
                break
            found = end
        return found

    def clear(
        self,
        locations: Sequence[str] | None = None,
        request_configs: dict[str, Any] | None = None,
        on_removed: OnRemoved | None = None,
    ) -> int:
        """Drop every chunk from the named backends (None: all), memory, disk and remote alike.

        Args:
            locations: Backend names; one that does not exist stands for nothing.
            request_configs: Taken and not used, as in LMCache.
            on_removed: Called again and again with the number of chunks dropped; what it raises ends the clearing.

        Returns:
            Tokens of the chunks that were dropped.
        """
        return self._storage().clear(locations, on_removed)

    def open_chunk_source(self, store: Mapping[str, Any]) -> FolderChunkSource | None:
        """Open folders of chunks to load them into memory; see `open_source`."""
        return open_source(store, self._storage().allocator_backend, self.metadata, self.gpu_connector.layout)

    def freeze(self, enabled: bool) -> None:
        """Switch freeze mode: nothing is stored, and only memory is read."""
        self._frozen = enabled

    def is_frozen(self) -> bool:
        """Whether freeze mode is on."""
        return self._frozen

    def set_hot_cache(self, enabled: bool) -> None:
        """Switch the memory backend; switching off drops its content."""
        self._storage().allocator_backend.set_enabled(enabled)

    def is_hot_cache_enabled(self) -> bool:
        """Whether memory keeps chunks."""
        return self.storage_manager is not None and self.storage_manager.allocator_backend.enabled

    def is_healthy(self) -> bool:
        """Whether the engine has its backends."""
        return self.storage_manager is not None

    def close(self) -> None:
        """Close the backends; what is durable stays."""
        closing, self.storage_manager = self.storage_manager, None
        if closing is not None:
            closing.close()

    def _storage(self) -> StorageManager:
        if self.storage_manager is None:
            raise RuntimeError("the engine is closed")
        return self.storage_manager

    def _arguments(
        self,
        operation: str,
        tokens: Sequence[int] | Array,
        slot_mapping: Sequence[int] | Array | None,
        kvcaches: Caches,
        req_id: str | None,
    ) -> tuple[Sequence[int], list[Array], Slots]:
        given = kvcaches.values() if isinstance(kvcaches, dict) else kvcaches
        caches = list(given or self.gpu_connector.kvcaches)
        self.gpu_connector.check(caches)
        ids = _listed(tokens)
        slots = self.gpu_connector.slots(slot_mapping, len(ids), caches)
        if self.kvcache_check_log_enabled:
            logger.info(
                "[KVCache Check] %s request %r, tokens=%d, slot_mapping: %s",
                operation, req_id, len(ids), _ranges(slots),
            )
        return ids, caches, slots

    def _spans(self, tokens: Sequence[int]) -> Iterator[Span]:
        unfull = bool(self.config.save_unfull_chunk)
        for start, end, chained in chunk_hashes(tokens, self.metadata.chunk_size, partial=unfull):
            yield start, end, self._key(chained)

    def _given(self, hashes: Sequence[int], offsets: Sequence[int]) -> Iterator[Span]:
        end = 0
        for chained, tokens in zip(hashes, offsets, strict=True):
            end += tokens
            yield end - tokens, end, self._key(chained)

    def _key(self, chained: int) -> ChunkKey:
        facts = self.metadata
        return ChunkKey(facts.model_name, facts.world_size, facts.worker_id, chained, self.gpu_connector.layout.dtype)

    def _piece(self, span: Span, caches: list[Array], slots: Slots) -> Piece:
        start, end, key = span
        gather = partial(self.gpu_connector.gather, caches, slots[start:end])
        return Piece(key, self.gpu_connector.layout.nbytes(end - start), gather)

    def _readable(self) -> list[str] | None:
        return [MEMORY] if self._frozen else self.config.retrieve_locations

    def _writer(self) -> Writer:
        location = self.config.store_location
        return Writer(self._storage().active(None if location is None else [location]))

    def _reader(self) -> Reader:
        storage = self._storage()
        memory = None if storage.is_backend_bypassed(MEMORY) else storage.allocator_backend
        return Reader(storage.active(self._readable()), memory)


def _listed(tokens: Sequence[int] | Array) -> Sequence[int]:
    return tokens.tolist() if isinstance(tokens, np.ndarray) else tokens


def _ranges(slots: Slots) -> list[int | list[int]]:
    """Slots with runs of three or more shortened to their first and last."""
    if not len(slots):
        return []
    shown: list[int | list[int]] = []
    for run in np.split(slots, np.flatnonzero(np.diff(slots) != 1) + 1):
        shown += [[int(run[0]), int(run[-1])]] if len(run) >= 3 else run.tolist()
    return shown
