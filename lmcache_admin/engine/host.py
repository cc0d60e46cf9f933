"""The embedded engine's manager: what an admin service is given, in the form of LMCache's own manager."""

from __future__ import annotations

import threading
from typing import Any

from lmcache_admin.engine.arrays import Array, ArrayConnector, make_caches
from lmcache_admin.engine.configuration import Configuration
from lmcache_admin.engine.engine import Engine
from lmcache_admin.engine.metadata import Metadata
from lmcache_admin.engine.shape import CacheShape
from lmcache_admin.engine.storage import StorageManager

NO_LOOKUP = "the embedded engine has no lookup {what}"


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
        self.lmcache_engine_metadata = Metadata.describe(self._shape, config.chunk_size, role, worker_id)
        self.lmcache_engine: Engine | None = None
        self.lookup_client: None = None
        self.lookup_server: None = None
        self.health_monitor: None = None
        self.offload_server: None = None
        self.api_server: Any = None  # set by whoever serves this manager
        self._changing = threading.Lock()

    def start(self) -> None:
        """Make the engine of a worker; does nothing when it is there, or for a scheduler.

        Raises:
            StorageError: A backend cannot be made; nothing is left half made.
        """
        with self._changing:
            if self.lmcache_engine is not None or self.lmcache_engine_metadata.role == "scheduler":
                return
            storage = StorageManager(self.config, self._shape.layout)
            chunk_size = self.lmcache_engine_metadata.chunk_size
            connector = ArrayConnector(make_caches(self._shape), self._shape.layout, chunk_size)
            self.lmcache_engine = Engine(self.config, self.lmcache_engine_metadata, storage, connector)

    def stop(self) -> None:
        """Close the engine; may be called twice."""
        with self._changing:
            closing, self.lmcache_engine = self.lmcache_engine, None
        if closing is not None:
            closing.close()

    @property
    def kv_caches(self) -> dict[str, Array]:
        """Layer name to KV cache, empty without an engine."""
        return {} if self.lmcache_engine is None else self.lmcache_engine.gpu_connector.named

    def is_healthy(self) -> bool:
        """Whether the engine, where this role has one, is ready."""
        if self.lmcache_engine_metadata.role == "scheduler":
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
        """Class names of lookup client and server, `None` where there is none."""
        return {"client": _named(self.lookup_client), "server": _named(self.lookup_server)}

    def close_lookup_client(self) -> dict[str, str]:
        """Close the lookup client; what it was."""
        return {"old": _named(self.lookup_client)}

    def close_lookup_server(self) -> dict[str, str]:
        """Close the lookup server; what it was."""
        return {"old": _named(self.lookup_server)}

    def create_lookup_client(self, dryrun: bool = False) -> dict[str, Any]:
        """Refused: there is no lookup client."""
        return {"error": NO_LOOKUP.format(what="client")}

    def create_lookup_server(self, dryrun: bool = False) -> dict[str, Any]:
        """Refused: there is no lookup server."""
        return {"error": NO_LOOKUP.format(what="server")}

    def recreate_lookup_client(self) -> dict[str, Any]:
        """Refused: there is nothing to recreate."""
        return {"error": "lookup client not available"}

    def recreate_lookup_server(self) -> dict[str, Any]:
        """Refused: there is nothing to recreate."""
        return {"error": "lookup server not available"}


def _named(part: object) -> str:
    return "None" if part is None else type(part).__name__
