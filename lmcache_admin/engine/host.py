"""The embedded engine's manager: what an admin service is given, in the form of LMCache's own manager."""

from __future__ import annotations

import threading
from typing import Any

from lmcache_admin.engine.arrays import Array, ArrayConnector, make_caches
from lmcache_admin.engine.configuration import Configuration
from lmcache_admin.engine.engine import Engine
from lmcache_admin.engine.lookup import Client, LookupServer, making
from lmcache_admin.engine.lookup.parts import LookupPartError, Part, named
from lmcache_admin.engine.metadata import Metadata
from lmcache_admin.engine.shape import CacheShape
from lmcache_admin.engine.storage import StorageManager


class Manager:
    """One process's part of the embedded engine: a worker with an engine, or a scheduler without.

    Args:
        config: The engine's configuration.
        role: `worker` or `scheduler`.
        worker_id: Number of the worker, from 0.

    Raises:
        ValueError: An unknown role or a negative worker id.
        ConfigurationError: A KV cache shape that cannot be.
    """

    def __init__(self, config: Configuration, role: str = "worker", worker_id: int = 0) -> None:
        if role not in ("worker", "scheduler") or worker_id < 0:
            raise ValueError(f"role {role!r}, worker_id {worker_id}: allowed are worker or scheduler, from 0")
        self.config = config
        self._shape = CacheShape.from_configuration(config)
        self._facts = Metadata.describe(self._shape, config.chunk_size, role, worker_id, config.lmcache_instance_id)
        self.lmcache_engine_metadata: Metadata | None = self._facts
        self.lmcache_engine: Engine | None = None
        self.health_monitor: None = None
        self.offload_server: None = None
        self.api_server: Any = None  # set by whoever serves this manager
        self._changing = threading.Lock()
        self._started = False
        self._client: Part[Client] = Part(
            "lookup client",
            lambda _: making.make_client(config, self._metadata()),
            lambda: making.describe_client(config, self._metadata()),
        )
        self._server: Part[LookupServer] = Part(
            "lookup server",
            self._make_server,
            lambda: making.describe_server(self._engine_for_lookups()),
        )

    def start(self) -> None:
        """Make a worker's engine and lookup server, or a scheduler's lookup client; what is there stays.

        A lookup part that cannot be made is one line in the log, and the engine runs without it.

        Raises:
            StorageError: A backend cannot be made; nothing is left half made.
        """
        with self._changing:
            if self._started:
                return
            if self._facts.role == "scheduler":
                self._client.open()
            else:
                self.lmcache_engine = self._make_engine()
                self._server.open()
            self._started = True

    def stop(self) -> None:
        """Close lookup parts and engine; may be called twice."""
        with self._changing:
            closing, self.lmcache_engine = self.lmcache_engine, None
            self._started = False
            self._client.close()
            self._server.close()
        if closing is not None:
            closing.close()

    @property
    def lookup_client(self) -> Client | None:
        """What a scheduler asks its workers with."""
        return self._client.current

    @property
    def lookup_server(self) -> LookupServer | None:
        """What answers a scheduler."""
        return self._server.current

    @property
    def kv_caches(self) -> dict[str, Array]:
        """Layer name to KV cache, empty without an engine."""
        return {} if self.lmcache_engine is None else self.lmcache_engine.gpu_connector.named

    def is_healthy(self) -> bool:
        """Whether the engine, where this role has one, is ready."""
        if self._facts.role == "scheduler":
            return True
        return self.lmcache_engine is not None and self.lmcache_engine.is_healthy()

    def get_inference_info(self) -> dict[str, Any]:
        """Facts about model and KV cache, in the form of vLLM's."""
        shape = self._shape
        return {
            "model_config": {
                "model": shape.model_name,
                "dtype": f"torch.{shape.dtype}",
                "num_layers": shape.layers,
                "num_kv_heads": 1 if shape.mla else shape.heads,
                "head_size": shape.head_size,
            },
            "cache_config": {"block_size": shape.block_size, "num_blocks": shape.blocks},
        }

    def get_inference_version(self) -> str:
        """Name of the inference engine: the embedded one has no version of its own."""
        return "embedded"

    def get_lookup_info(self) -> dict[str, str]:
        """Class names of lookup client and server, wrappers as `Outer(Inner)`, `None` where there is none."""
        return {"client": named(self.lookup_client), "server": named(self.lookup_server)}

    def close_lookup_client(self) -> dict[str, str]:
        """Close the lookup client; `old`, what it was."""
        return self._client.close()

    def close_lookup_server(self) -> dict[str, str]:
        """Close the lookup server; `old`, what it was."""
        return self._server.close()

    def create_lookup_client(self, dryrun: bool = False) -> dict[str, Any]:
        """Make a lookup client by the present configuration; it takes the place of the one that is there.

        Args:
            dryrun: Only say what would be made.

        Returns:
            `new`, its class names, with `dryrun` if that was asked; or `error`.
        """
        return self._client.create(dryrun)

    def create_lookup_server(self, dryrun: bool = False) -> dict[str, Any]:
        """Make a lookup server, as `create_lookup_client` does."""
        return self._server.create(dryrun)

    def recreate_lookup_client(self) -> dict[str, Any]:
        """Replace the lookup client by a new one: `old` and `new`, or `error`; then the old one stays."""
        return self._client.recreate()

    def recreate_lookup_server(self) -> dict[str, Any]:
        """Replace the lookup server by a new one: `old` and `new`, or `error`; then the old one stays."""
        return self._server.recreate()

    def _make_engine(self) -> Engine:
        storage = StorageManager(self.config, self._shape.layout)
        connector = ArrayConnector(make_caches(self._shape), self._shape.layout, self._facts.chunk_size)
        return Engine(self.config, self._facts, storage, connector)

    def _make_server(self, old: LookupServer | None) -> LookupServer | None:
        return making.make_server(self._engine_for_lookups(), old)

    def _engine_for_lookups(self) -> Engine:
        engine = self.lmcache_engine
        if engine is None:
            raise LookupPartError("engine not available")
        return engine

    def _metadata(self) -> Metadata:
        if self.lmcache_engine_metadata is None:
            raise LookupPartError("metadata not available")
        return self.lmcache_engine_metadata
