"""Chunk files of folders, read into the memory of a running engine."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from lmcache_admin.engine.backends.memory import LocalCPUBackend
from lmcache_admin.engine.chunks import ChunkKey, Layout
from lmcache_admin.engine.configuration import Configuration
from lmcache_admin.engine.errors import ChunkFileError, StorageError
from lmcache_admin.engine.metadata import Metadata
from lmcache_admin.engine.remote import Store, StoreError, open_store
from lmcache_admin.engine.remote.address import Address

__all__ = ["FolderChunkSource", "open_source"]

logger = logging.getLogger(__name__)

LOADED, FAILED, SKIPPED, FULL = "loaded", "failed", "skipped", "full"


def open_source(
    described: Mapping[str, Any], memory: LocalCPUBackend, metadata: Metadata, layout: Layout
) -> FolderChunkSource | None:
    """Open folders of chunks for reading: none is made, and one that is not there is empty.

    Args:
        described: `remote_url` (`fs://` or `file://`), `remote_serde` and `extra_config` of the store.
        memory: Where chunks are put.
        metadata: Whose chunks they have to be.
        layout: How they have to lie.

    Returns:
        None where the URL names no folder.

    Raises:
        StorageError: Its chunks cannot be read by this engine.
    """
    config = Configuration.from_mapping({**described, "chunk_size": metadata.chunk_size}, {})
    try:
        Address.parse(config.remote_url).folders  # noqa: B018 - reading it checks it
    except StorageError as error:
        logger.warning("The chunk store of a request cannot be opened: %s", error)
        return None
    return FolderChunkSource(open_store(config, layout, writable=False), memory, metadata, layout.dtype)


class FolderChunkSource:
    """Loads chunks of a store, no more than memory holds at once; any thread may call any method.

    Args:
        store: The store, whose chunks are of the engine's layout.
        memory: Where they are put.
        metadata: Whose chunks they have to be.
        dtype: Their element type, as keys name it.
    """

    def __init__(self, store: Store, memory: LocalCPUBackend, metadata: Metadata, dtype: str) -> None:
        self._store = store
        self._memory = memory
        self._metadata = metadata
        self._dtype = dtype
        self._capacity = memory.stats()["capacity"]
        self._taken = 0
        self._lock = threading.Lock()

    def keys(self) -> Sequence[str]:
        """Text of every file's key; none where the folder is not there, as before the first chunk of all.

        Raises:
            StoreError: It cannot be listed.
        """
        try:
            return list(self._store.keys())
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return []
            raise

    def load(self, key: str, /) -> tuple[str, str]:
        """Load one chunk and return (status, reason).

        The status is `loaded`, also where memory has the chunk already; `failed`: this chunk cannot be loaded;
        `skipped`: it is another worker's; `full`: memory has no room for it beside those loaded before.
        """
        try:
            named = ChunkKey.parse(key)
        except ValueError:
            return FAILED, "its name is no chunk key"
        refusal = self._refusal(named)
        if refusal is not None:
            return refusal
        return (LOADED, "") if self._memory.confirm(named) else self._read(named)

    def holds(self, key: str, /) -> bool:
        """Whether memory has the chunk at this moment."""
        return self._memory.contains(ChunkKey.parse(key))

    def close(self) -> None:
        """Let go of the store; what was loaded stays."""
        self._store.close()

    def _refusal(self, key: ChunkKey) -> tuple[str, str] | None:
        own = self._metadata
        if key.model_name != own.model_name:
            return FAILED, f"it is of the model {key.model_name!r}, not {own.model_name!r}"
        if key.dtype != self._dtype:
            return FAILED, f"its elements are {key.dtype}, not {self._dtype}"
        if key.world_size != own.world_size:
            return FAILED, f"it is of an engine of {key.world_size} workers, not {own.world_size}"
        if key.worker_id != own.worker_id:
            return SKIPPED, "another worker's"
        return None

    def _read(self, key: ChunkKey) -> tuple[str, str]:
        try:
            chunk = self._store.read(key)
        except (ChunkFileError, StoreError) as error:
            return FAILED, str(error)
        if chunk is None:
            return FAILED, "it is not there"
        if not self._take(chunk.nbytes):
            return FULL, "memory is full of chunks of this load"
        if not self._memory.put(key, chunk):
            return FULL, "memory takes no chunks any more"
        return LOADED, ""

    def _take(self, nbytes: int) -> bool:
        with self._lock:
            if self._taken + nbytes > self._capacity:
                return False
            self._taken += nbytes
            return True
