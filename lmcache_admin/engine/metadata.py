"""What an engine says about its model and its place among the workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lmcache_admin.engine.shape import CacheShape


@dataclass
class Metadata:
    """Facts about the engine, with the names that LMCache gives them.

    Args:
        kv_dtype: Element type of the KV caches as LMCache prints it, e.g. `torch.float16`.
        kv_shape: Layers, 2 (1 for MLA), tokens of a chunk, heads, head size.
        role: `worker` or `scheduler`.
        engine_id: Name that scheduler and workers share; their lookup sockets are named after it.
    """

    model_name: str
    world_size: int
    local_world_size: int
    worker_id: int
    local_worker_id: int
    kv_dtype: str
    kv_shape: tuple[int, int, int, int, int]
    use_mla: bool
    role: str
    chunk_size: int
    served_model_name: str | None = None
    first_rank: int = 0
    kv_layer_groups_manager: None = None
    engine_id: str | None = None
    kv_connector_extra_config: dict[str, Any] | None = None

    @classmethod
    def describe(cls, shape: CacheShape, chunk_size: int, role: str, worker_id: int, engine_id: str) -> Metadata:
        """Facts of an engine with KV caches of that shape."""
        planes, heads = (1, 1) if shape.mla else (2, shape.heads)
        return cls(
            model_name=shape.model_name,
            world_size=shape.world_size,
            local_world_size=shape.world_size,
            worker_id=worker_id,
            local_worker_id=worker_id,
            kv_dtype=f"torch.{shape.dtype}",
            kv_shape=(shape.layers, planes, chunk_size, heads, shape.head_size),
            use_mla=shape.mla,
            role=role,
            chunk_size=chunk_size,
            engine_id=engine_id,
        )

    def is_first_rank(self) -> bool:
        """Whether this worker is the first one."""
        return self.worker_id == self.first_rank
