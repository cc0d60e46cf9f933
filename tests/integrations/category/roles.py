"""A scheduler and a worker in one process, as vLLM has them, each with a server: `roles.py KIND --config FILE`.

KIND is `embedded`, or in an interpreter with LMCache `lmcache` (with our server) or `own` (with LMCache's). The
scheduler's lookup client asks the worker's lookup server over their real socket; LMCache's are made by its own
factory. Three lookups of 32 tokens, all stored, have been made before the scheduler answers.
"""

from __future__ import annotations

import json
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

from lmcache_admin import InternalAPIServer
from lmcache_admin.engine import Configuration, Manager
from lmcache_admin.integrations import vllm as plugin

SPEC = "(2,2,256,4,16):float16:2"
TOKENS = list(range(32))


def metadata(role: str, engine_id: str) -> Any:
    import torch
    from lmcache.v1.metadata import LMCacheMetadata

    shape = (2, 2, 256, 4, 16)
    return LMCacheMetadata("model", 1, 1, 0, 0, torch.float16, shape, role=role, engine_id=engine_id)


def start_worker(config: Any, engine_id: str) -> Any:
    """The standalone starter's engine, and a lookup server, which the starter leaves out."""
    from lmcache.v1.standalone import __main__ as standalone

    spec = standalone.parse_kvcache_shape_spec(SPEC)
    starter = standalone.LMCacheStandaloneStarter(config, metadata("worker", engine_id), spec)
    starter._manager.create_lookup_server()
    starter.start()
    return starter


def start_scheduler(config: Any, engine_id: str) -> Any:
    """A manager without an engine, and its lookup client."""
    from lmcache.v1.manager import LMCacheManager
    from lmcache.v1.standalone.standalone_service_factory import StandaloneServiceFactory

    class Factory(StandaloneServiceFactory):  # type: ignore[misc]  # LMCache's types are not there
        def get_or_create_lmcache_engine(self) -> None:
            return None

    manager = LMCacheManager(config, Factory(config, metadata("scheduler", engine_id), None, None, None))
    manager.create_lookup_client()
    return manager


def lmcache(file: str) -> None:
    """Start both roles in LMCache."""
    from lmcache.v1.config import LMCacheEngineConfig

    config = LMCacheEngineConfig.from_file(file)
    engine_id = uuid.uuid4().hex
    worker = start_worker(config, engine_id)
    scheduler = start_scheduler(config, engine_id)
    worker._manager.lmcache_engine.store(tokens=TOKENS, slot_mapping=None, kvcaches=None, req_id="roles")
    look_up(scheduler)
    scheduler.start_services()


def embedded(file: str) -> None:
    """Start both roles of the embedded engine."""
    config = Configuration.from_mapping(json.loads(Path(file).read_text()))
    worker, scheduler = Manager(config), Manager(config, role="scheduler")
    worker.start()
    scheduler.start()
    engine = worker.lmcache_engine
    if engine is None:
        raise SystemExit("the worker has no engine")
    engine.store(tokens=TOKENS, slot_mapping=list(range(32)), kvcaches=engine.gpu_connector.kvcaches, req_id="roles")
    look_up(scheduler)
    for server in map(InternalAPIServer, (worker, scheduler)):
        server.start()
        if server.error:
            raise SystemExit(server.error)


def look_up(scheduler: Any) -> None:
    """Two requests, one of them asked twice."""
    for request in ("first", "first", "second"):
        if scheduler.lookup_client.lookup(TOKENS, request) != 32:
            raise SystemExit("the lookup did not find what was stored")


if __name__ == "__main__":
    kind, _, path = sys.argv[1:]
    if kind == "lmcache":
        plugin.register()
    embedded(path) if kind == "embedded" else lmcache(path)
    threading.Event().wait()
