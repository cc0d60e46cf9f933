"""The host surface as types: one narrow protocol for each part that we call (contract, host surface)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Configuration(Protocol):
    """The engine's settings: an attribute for each key."""

    @property
    def _config_definitions(self) -> Mapping[str, Mapping[str, Any]]:
        """Key -> `type`, `default` and `env_converter`; where it is absent, the keys are LMCache's."""

    @property
    def extra_config(self) -> Mapping[str, Any] | None:
        """Settings of further parts, ours among them."""


class Metadata(Protocol):
    """What the engine says about its model and its place among the workers."""

    @property
    def role(self) -> str | None:
        """Return `worker` or `scheduler`."""

    @property
    def worker_id(self) -> int:
        """Return the number of the worker, from 0."""


class Connector(Protocol):
    """What moves KV between the cache and the model."""

    @property
    def kvcaches(self) -> Sequence[Any] | None:
        """The layers' caches, whose `device` tells where they lie; None before they are known."""


class StorageManager(Protocol):
    """The backends of an engine, in search order."""

    def list_backends(self) -> Mapping[str, str]:
        """Return backend name -> class name."""

    def close_backend(self, name: str, /) -> bool:
        """Close a backend; False if there is none of that name."""

    def create_backends(self) -> Mapping[str, str]:
        """Create what the configuration names and is missing; return what is new."""

    def recreate_backend(self, name: str, /) -> Mapping[str, str]:
        """Close and create a backend; KeyError if there is none of that name."""

    def get_all_backend_names(self) -> Sequence[str]:
        """Return the names of all backends."""

    def get_bypassed_backends(self) -> Sequence[str]:
        """Return the names of those that are left out of contains, put and get."""

    def is_backend_bypassed(self, name: str, /) -> bool:
        """Tell whether a backend is bypassed."""

    def set_backend_bypass(self, name: str, bypassed: bool, /) -> None:
        """Set or lift a bypass."""


class Mask(Protocol):
    """What `retrieve` answers: true where a token was loaded."""

    def sum(self) -> Any:
        """Return a scalar array whose `item()` is the number of tokens."""


class Engine(Protocol):
    """The cache engine of a worker."""

    kvcache_check_log_enabled: bool

    @property
    def config(self) -> Configuration:
        """The settings."""

    @property
    def metadata(self) -> Metadata:
        """The facts about this worker."""

    @property
    def gpu_connector(self) -> Connector | None:
        """What moves KV; None where nothing does."""

    @property
    def storage_manager(self) -> StorageManager | None:
        """The backends; None until the engine is initialised."""

    def store(self, *, tokens: list[int], slot_mapping: Any, kvcaches: Any, req_id: str) -> Any:
        """Store the KV of `tokens`, which lies in the slots of `slot_mapping` (int64, one a token)."""

    def retrieve(self, *, tokens: list[int], slot_mapping: Any, kvcaches: Any, req_id: str) -> Mask:
        """Load the longest stored prefix of `tokens` into the slots of `slot_mapping`."""

    def clear(self, *, locations: Any, request_configs: Any) -> int:
        """Remove chunks of all or of named backends; return the number of tokens."""

    def freeze(self, enabled: bool, /) -> None:
        """Stop or allow stores."""

    def is_frozen(self) -> bool:
        """Tell whether stores are stopped."""

    def set_hot_cache(self, enabled: bool, /) -> None:
        """Switch the memory cache; off drops its content."""

    def is_hot_cache_enabled(self) -> bool:
        """Tell whether the memory cache is on."""


class Manager(Protocol):
    """Whoever embeds the service: LMCache's manager, ours, or somebody else's."""

    @property
    def config(self) -> Configuration:
        """The engine's settings."""

    @property
    def lmcache_engine_metadata(self) -> Metadata | None:
        """The facts about this process's engine."""

    @property
    def lmcache_engine(self) -> Engine | None:
        """The engine; None in a scheduler."""

    @property
    def kv_caches(self) -> Mapping[str, Any]:
        """Layer name -> tensor; empty if there are none."""

    def get_inference_info(self) -> Mapping[str, Any]:
        """Describe the inference engine."""


class LookupManager(Protocol):
    """A manager as the owner of a lookup client (scheduler) or a lookup server (worker)."""

    def get_lookup_info(self) -> Mapping[str, str]:
        """Return the class of `client` and of `server`, wrappers outside; the text `None` for none."""

    def close_lookup_client(self) -> Mapping[str, str]:
        """Close the client; return as `old` what it was."""

    def close_lookup_server(self) -> Mapping[str, str]:
        """Close the server; return as `old` what it was."""

    def create_lookup_client(self, dryrun: bool = False) -> Mapping[str, Any]:
        """Make a client, or only tell which (then with `dryrun`); return it as `new`, or an `error`."""

    def create_lookup_server(self, dryrun: bool = False) -> Mapping[str, Any]:
        """Make a server, or only tell which (then with `dryrun`); return it as `new`, or an `error`."""

    def recreate_lookup_client(self) -> Mapping[str, Any]:
        """Close and make a client; return `old` and `new`, or an `error`."""

    def recreate_lookup_server(self) -> Mapping[str, Any]:
        """Close and make a server; return `old` and `new`, or an `error`."""


class StatisticsClient(Protocol):
    """A lookup client that keeps statistics of chunks."""

    def start_statistics(self) -> None:
        """Begin to count."""

    def stop_statistics(self) -> None:
        """Count no more; the figures stay."""

    def reset_statistics(self) -> None:
        """Set the figures back."""

    def get_statistics(self) -> Mapping[str, Any]:
        """Return the figures; may wait for what has not been counted yet."""


class Registry(Protocol):
    """The controller's tree of instances and workers."""

    instances: Mapping[str, Any]

    def get_total_kv_count(self) -> int:
        """Return the number of keys over all workers."""

    def get_instance(self, instance_id: str, /) -> Any:
        """Return an instance's node, or None."""

    def get_worker(self, instance_id: str, worker_id: int, /) -> Any:
        """Return a worker's node, or None."""


class PeriodicThreads(Protocol):
    """The process-wide registry of the host's periodic threads."""

    def get_all(self) -> Sequence[Any]:
        """Return every registered thread."""

    def get(self, name: str, /) -> Any:
        """Return one thread, or None."""

    def get_summary(self) -> Mapping[str, Any]:
        """Return the counts that the contract shows."""


class ChunkSource(Protocol):
    """A store of chunks, opened to load them into the engine's memory; any thread may call any method."""

    def keys(self) -> Sequence[str]:
        """Return the text of every chunk's key, in no order, also of texts that are no keys."""

    def load(self, key: str, /) -> tuple[str, str]:
        """Load one chunk and return (status, reason).

        The status is `loaded`, also where memory has the chunk already; `failed`: this chunk cannot be loaded;
        `skipped`: it is no chunk of this worker's; `full`: memory has no room for it.
        """

    def holds(self, key: str, /) -> bool:
        """Tell whether memory has a chunk at this moment."""

    def close(self) -> None:
        """Let go of the store; what was loaded stays."""


class Runtime(Protocol):
    """What the process around the host offers beside it."""

    def versions(self) -> tuple[str, str]:
        """Return (version, commit id) of what answers here."""

    def periodic_threads(self) -> PeriodicThreads | None:
        """Return the registry of periodic threads; None where nothing registers any."""

    def reset_metrics(self) -> None:
        """Set the host's counters and histograms back."""

    def allocator(self, storage: StorageManager) -> str | None:
        """Return the name of the backend that allocates the memory of the others; None where nobody says."""

    def close_backend(self, storage: StorageManager, name: str) -> bool:
        """Close a backend and take it out; False if there is none of that name."""

    def create_backends(self, storage: StorageManager) -> Mapping[str, str]:
        """Create what is missing, each in its place of the search order; return what is new."""

    def recreate_backend(self, storage: StorageManager, name: str) -> Mapping[str, str]:
        """Close and create a backend, in its place of the search order; return what is new."""

    def describe_lookup(self, manager: LookupManager, side: str) -> Mapping[str, Any] | None:
        """Return what a dry run of creating the lookup `client` or `server` answers; None: only the host knows."""

    def open_chunk_source(self, engine: Engine, store: Mapping[str, Any]) -> ChunkSource | None:
        """Open a chunk store, described by the engine's own configuration keys; None: it cannot be reached."""

    def probes(self, manager: Manager) -> Mapping[str, Any]:
        """Return check name -> a call that probes that part of the data path and returns (status, message)."""
