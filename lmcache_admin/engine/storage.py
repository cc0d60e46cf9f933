"""The backends of one engine, in search order: which take part, and making and closing them at run time."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping

from lmcache_admin.engine.backends.disk import LocalDiskBackend
from lmcache_admin.engine.backends.memory import LocalCPUBackend
from lmcache_admin.engine.backends.protocol import Backend, OnRemoved
from lmcache_admin.engine.backends.remote import open_remote
from lmcache_admin.engine.chunks import Chunk, ChunkKey, Layout
from lmcache_admin.engine.configuration import LIMITS, Configuration
from lmcache_admin.engine.errors import StorageError
from lmcache_admin.engine.probe import ProbeResult, probe

logger = logging.getLogger(__name__)

MEMORY = "LocalCPUBackend"
DISK = "LocalDiskBackend"
REMOTE = "RemoteBackend"
GB = 1024**3


class StorageManager:
    """Holds the backends and passes chunks to those that take part.

    Args:
        config: Says which backends there are and how large each is.
        layout: How the engine's chunks lie; backends take no other.

    Raises:
        StorageError: A backend cannot be made.
    """

    def __init__(self, config: Configuration, layout: Layout) -> None:
        self._config = config
        self._layout = layout
        self._changing = threading.RLock()  # for making and closing only; reads take the mapping as it is
        self._backends: Mapping[str, Backend] = {}
        self._bypassed: frozenset[str] = frozenset()
        self._memory = LocalCPUBackend(0, enabled=False)
        if config.local_disk and not config.max_local_disk_size:
            logger.warning("local_disk is set, but max_local_disk_size is 0: no disk backend; set it to a size in GB")
        self._install({name: make() for name, make in self._makers().items() if name != REMOTE})
        try:
            self.create_backends()
        except StorageError as error:  # what is shared with others may be mended later; the engine runs on without
            logger.error("No %s: %s", REMOTE, error)  # noqa: TRY400 - one line says it all

    @property
    def allocator_backend(self) -> LocalCPUBackend:
        """The memory backend, which is always there."""
        return self._memory

    @property
    def backends(self) -> Mapping[str, Backend]:
        """Present backends by name, in search order; never changed in place."""
        return self._backends

    def list_backends(self) -> dict[str, str]:
        """Name to class name, in search order."""
        return {name: type(backend).__name__ for name, backend in self._backends.items()}

    def get_all_backend_names(self) -> list[str]:
        """Names in search order."""
        return list(self._backends)

    def create_backends(self) -> dict[str, str]:
        """Make those that the configuration asks for and that are missing; returns them."""
        with self._changing:
            missing = [name for name in self._makers() if name not in self._backends]
            return self._install({name: self._makers()[name]() for name in missing})

    def close_backend(self, name: str) -> bool:
        """Close and take out a backend; False when there is none of that name.

        Raises:
            StorageError: The memory backend, which every store and retrieve goes through.
        """
        with self._changing:
            if name not in self._backends:
                return False
            if name == MEMORY:
                raise StorageError(f"{MEMORY} cannot be closed: every store and retrieve goes through it")
            closing = self._backends[name]
            self._backends = {other: backend for other, backend in self._backends.items() if other != name}
        closing.close()
        return True

    def recreate_backend(self, name: str) -> dict[str, str]:
        """Replace a backend by a new one at the same place in the order, and make missing ones.

        Returns:
            All that were made, name to class name.

        Raises:
            KeyError: There is none of that name.
            StorageError: It cannot be made, or the configuration no longer asks for it; the old one stays.
        """
        with self._changing:
            closing = self._backends[name]
            makers = self._makers()
            if name not in makers:
                raise StorageError(f"the configuration no longer asks for {name}")
            wanted = [made for made in makers if made == name or made not in self._backends]
            created = self._install({made: makers[made]() for made in wanted})
        closing.close()
        return created

    def get_bypassed_backends(self) -> list[str]:
        """Names of backends that are left out of store, lookup and retrieve."""
        return sorted(self._bypassed)

    def is_backend_bypassed(self, name: str) -> bool:
        """Whether that name is left out."""
        return name in self._bypassed

    def set_backend_bypass(self, name: str, bypassed: bool) -> None:
        """Leave a backend out, or take it in again; any name."""
        with self._changing:
            self._bypassed = self._bypassed | {name} if bypassed else self._bypassed - {name}

    def active(self, names: Iterable[str] | None = None) -> dict[str, Backend]:
        """Backends that take part, of those named (None: all), in search order."""
        chosen = None if names is None else set(names)
        return {
            name: backend
            for name, backend in self._backends.items()
            if name not in self._bypassed and (chosen is None or name in chosen)
        }

    def contains(self, key: ChunkKey, search_range: Iterable[str] | None = None) -> str | None:
        """Name of the first backend that has the chunk."""
        return next((name for name, one in self.active(search_range).items() if one.contains(key)), None)

    def get(self, key: ChunkKey, search_range: Iterable[str] | None = None) -> Chunk | None:
        """The chunk from the first backend that can give it."""
        for backend in self.active(search_range).values():
            chunk = backend.get(key)
            if chunk is not None:
                return chunk
        return None

    def put(self, key: ChunkKey, chunk: Chunk, names: Iterable[str] | None = None) -> list[str]:
        """Give the chunk to each backend; names of those that keep it."""
        return [name for name, backend in self.active(names).items() if backend.put(key, chunk)]

    def remove(self, key: ChunkKey, locations: Iterable[str] | None = None) -> int:
        """Drop the chunk from each backend; the number of those that had it."""
        return sum(backend.remove(key) for backend in self.active(locations).values())

    def chunk_count(self, locations: Iterable[str] | None = None) -> int | None:
        """Chunks in the named backends (None: all), one in two backends twice; None where one cannot tell."""
        counts = [backend.stats().get("chunks") for backend in self._named(locations)]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    def clear(self, locations: Iterable[str] | None = None, on_removed: OnRemoved | None = None) -> int:
        """Empty the named backends (None: all, bypassed ones too).

        Args:
            locations: Backend names; one that does not exist stands for nothing.
            on_removed: Called again and again with the number of chunks dropped; what it raises ends the clearing.

        Returns:
            Tokens of the chunks that were dropped; a chunk in two backends counts once.
        """
        cleared: dict[str, int] = {}
        for backend in self._named(locations):
            cleared |= backend.clear(on_removed)
        return sum(cleared.values())

    def probe_backend(self, name: str) -> ProbeResult:
        """Store, look up, retrieve and remove a reserved chunk in one backend; evicts and counts nothing.

        Raises:
            KeyError: There is none of that name.
        """
        backend = self._backends[name]
        if name in self._bypassed:
            return ProbeResult(name, "skipped", "bypassed")
        if backend is self._memory and not self._memory.enabled:
            return ProbeResult(name, "skipped", "hot cache is off")
        return probe(name, backend, self._layout)

    def stats(self) -> dict[str, dict[str, int]]:
        """Figures of each backend by name."""
        return {name: backend.stats() for name, backend in self._backends.items()}

    def close(self) -> None:
        """Close every backend; what is durable stays."""
        with self._changing:
            closing, self._backends = self._backends, {}
        for backend in closing.values():
            backend.close()

    def _named(self, locations: Iterable[str] | None) -> list[Backend]:
        chosen = None if locations is None else set(locations)
        return [backend for name, backend in self._backends.items() if chosen is None or name in chosen]

    def _makers(self) -> dict[str, Callable[[], Backend]]:
        makers: dict[str, Callable[[], Backend]] = {MEMORY: self._make_memory}
        if self._config.local_disk and (self._config.max_local_disk_size or 0) > 0:
            makers[DISK] = self._make_disk
        if self._config.remote_url:
            makers[REMOTE] = lambda: open_remote(self._config, self._layout)
        return makers

    def _make_memory(self) -> Backend:
        size = self._bytes("max_local_cpu_size")
        policy = str(self._config.cache_policy)
        return LocalCPUBackend(size, policy, enabled=bool(self._config.local_cpu), layout=self._layout)

    def _make_disk(self) -> Backend:
        folders = [os.path.expanduser(path) for path in (self._config.local_disk or "").split(",")]
        return LocalDiskBackend(folders, self._bytes("max_local_disk_size"), layout=self._layout)

    def _bytes(self, key: str) -> int:
        """A size of the configuration, which may have been set to anything since the start."""
        size = getattr(self._config, key) or 0
        holds, allowed = LIMITS[key]
        if not holds(size):
            raise StorageError(f"{key}: {size!r} is not allowed; allowed: {allowed}")
        return int(size * GB)

    def _install(self, made: dict[str, Backend]) -> dict[str, str]:
        present = {**self._backends, **made}
        order = [*self._makers(), *present]
        self._backends = {name: present[name] for name in dict.fromkeys(order) if name in present}
        memory = self._backends[MEMORY]
        if isinstance(memory, LocalCPUBackend):
            self._memory = memory
        return {name: type(backend).__name__ for name, backend in made.items()}
