"""Members of the host surface that are used where they are there: one small protocol for each use of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from lmcache_admin.host.protocols import ChunkSource


class Versioned(Protocol):
    """A manager that knows the version of the inference engine."""

    def get_inference_version(self) -> str:
        """Return the version."""


class LookupOwner(Protocol):
    """A manager as the owner of the lookup client that statistics are asked of."""

    @property
    def lookup_client(self) -> Any:
        """The client, or a wrapper that has it as `actual_lookup_client`; None where there is none."""


class Watched(Protocol):
    """An engine whose clear says how far it is, and can be ended between two chunks."""

    def clear(self, *, locations: Any, request_configs: Any, on_removed: Callable[[int], None]) -> int:
        """As `Engine.clear`; calls `on_removed` with each number of chunks removed, and ends with what that raises."""


class Loading(Protocol):
    """An engine that loads chunks from a store which a request names."""

    def open_chunk_source(self, store: Mapping[str, Any], /) -> ChunkSource | None:
        """Open a chunk store, described by the engine's own configuration keys; None: it cannot be reached."""


class Healthy(Protocol):
    """An engine that knows how it is."""

    def is_healthy(self) -> bool:
        """Tell whether it works; asked every ten seconds where the storage has no `probe_backend`."""


class Counted(Protocol):
    """A storage manager that counts its chunks."""

    def chunk_count(self, locations: Sequence[str] | None, /) -> int | None:
        """Return how many chunks the named backends have (None: all); None where nobody can tell."""


class Allocating(Protocol):
    """A storage manager one of whose backends allocates the memory of the others, and so must stay."""

    @property
    def allocator_backend(self) -> Any:
        """That backend; its class's name is the one in `list_backends`."""


class Opened(Protocol):
    """A storage manager that shows its backends."""

    @property
    def storage_backends(self) -> Mapping[str, Any]:
        """Backend name -> backend; one without a method `clear` is said to have been passed over."""


class Probe(Protocol):
    """What became of a probe."""

    @property
    def status(self) -> str:
        """Return `ok`, `failed` or `skipped`."""

    @property
    def message(self) -> str:
        """Return why it is not `ok`."""


class Probed(Protocol):
    """A storage manager whose backends can be probed one by one."""

    def probe_backend(self, name: str, /) -> Probe:
        """Store, find, load and remove something of its own in one backend."""
