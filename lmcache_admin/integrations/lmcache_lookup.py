"""Which lookup client or server LMCache would make: told from its configuration, with none made.

LMCache's own dry run makes one and closes it. For a client that ends the ZMQ context that the live client uses too,
and waits for it for ever; a server takes the live one's socket file away.
Source: `LookupClientFactory` of LMCache 0.5.6.
"""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["describe_lookup"]


def describe_lookup(manager: Any, side: str) -> dict[str, Any] | None:
    """Return what a dry run answers; None where the manager makes clients and servers in a way of its own.

    Args:
        manager: Of any host.
        side: `client` or `server`.

    Raises:
        ValueError: What would be made cannot be made.
    """
    module = sys.modules.get("lmcache.v1.manager")  # not imported for this: no manager is of a class of it then
    name = f"create_lookup_{side}"
    if module is None or getattr(type(manager), name, None) is not getattr(module.LMCacheManager, name):
        return None
    if side == "server" and manager.lmcache_engine is None:
        return {"error": "engine not available"}
    if manager.lmcache_engine_metadata is None:
        return {"error": "metadata not available"}
    return {"new": _client(manager) if side == "client" else _server(manager), "dryrun": True}


def _client(manager: Any) -> str:
    config = manager.config
    name = _innermost(config, manager)
    if config.hit_miss_ratio is not None and 0 <= config.hit_miss_ratio <= 1:
        name = f"HitLimitLookupClient({name})"
    return f"ChunkStatisticsLookupClient({name})" if config.enable_chunk_statistics else name


def _innermost(config: Any, manager: Any) -> str:
    external = config.external_lookup_client
    if external is not None:
        if config.enable_async_loading:
            raise ValueError("Asynchronous loading is not supported for external lookup clients.")
        if not external.startswith("mooncakestore://"):
            raise ValueError("The external lookup client has to be mooncakestore://ADDRESS.")
        return "MooncakeLookupClient"
    if config.enable_scheduler_bypass_lookup and manager.lmcache_engine is not None:
        return "LMCacheBypassLookupClient"
    _need_engine_id(manager)
    return "LMCacheAsyncLookupClient" if config.enable_async_loading else "LMCacheLookupClient"


def _server(manager: Any) -> str:
    config, metadata = manager.lmcache_engine.config, manager.lmcache_engine_metadata
    chosen = config.get_lookup_server_worker_ids(metadata.use_mla, metadata.world_size)
    if config.external_lookup_client is not None or (chosen and metadata.worker_id not in chosen):
        return "None"
    _need_engine_id(manager)
    return "LMCacheAsyncLookupServer" if config.enable_async_loading else "LMCacheLookupServer"


def _need_engine_id(manager: Any) -> None:
    if manager.lmcache_engine_metadata.engine_id is None:
        raise ValueError("The metadata has no engine_id, which the sockets of lookups are named after.")
