"""Run by an interpreter with LMCache: its own remote backend, told what to do by lines of JSON on standard input.

One line in, one line out. It stands for another process that shares a store with the embedded engine.
"""

# ruff: noqa: TID253 - only ever run by an interpreter that has both
from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import threading
from collections.abc import Mapping
from typing import Any, cast

import torch
from lmcache.utils import CacheEngineKey
from lmcache.v1.config import LMCacheEngineConfig
from lmcache.v1.memory_management import MemoryFormat
from lmcache.v1.metadata import LMCacheMetadata
from lmcache.v1.storage_backend.local_cpu_backend import LocalCPUBackend
from lmcache.v1.storage_backend.remote_backend import RemoteBackend
from lmcache.v1.token_database import ChunkedTokenDatabase

CEILING = 30.0


def backend(asked: Mapping[str, Any]) -> tuple[RemoteBackend, LocalCPUBackend, LMCacheMetadata]:
    """A remote backend made from a configuration, as LMCache's storage manager makes it."""
    config = LMCacheEngineConfig.from_defaults(**{"max_local_cpu_size": 0.1, **asked["configuration"]})
    layers, heads, head_size = asked["shape"]
    mla = asked["mla"]
    shape = (layers, 1 if mla else 2, config.chunk_size, 1 if mla else heads, head_size)
    metadata = LMCacheMetadata(
        asked["model"], 1, 1, 0, 0, getattr(torch, asked["dtype"]), shape, use_mla=mla, role="worker",
        chunk_size=config.chunk_size,
    )
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    memory = LocalCPUBackend(config, metadata, dst_device="cpu")
    remote = RemoteBackend(config, metadata, loop, memory, dst_device="cpu")
    assert remote.connection is not None, "LMCache made no connection"
    return remote, memory, metadata  # never closed: the connector of resp:// waits for ever then


def keys(asked: Mapping[str, Any]) -> list[list[Any]]:
    """Start, end and key of each chunk of the tokens, by LMCache's own hashing."""
    config = LMCacheEngineConfig.from_defaults(**asked["configuration"])
    database = ChunkedTokenDatabase(config, backend(asked)[2])
    spans = database.process_tokens(tokens=torch.tensor(asked["tokens"]))
    return [[start, end, cast(CacheEngineKey, key).to_string()] for start, end, key in spans]


def write(asked: Mapping[str, Any]) -> None:
    """Put chunks, each with the payload given; returns when all are written."""
    remote, memory, metadata = backend(asked)
    form = MemoryFormat.KV_MLA_FMT if asked["mla"] else MemoryFormat.KV_2LTD
    for text, tokens, payload in asked["chunks"]:
        chunk = memory.allocate(metadata.get_shapes(tokens), metadata.get_dtypes(), form)
        memoryview(chunk.byte_array).cast("B")[:] = base64.b64decode(payload)
        remote.submit_put_task(CacheEngineKey.from_string(text), chunk).result(CEILING)


def read(asked: Mapping[str, Any]) -> list[Any]:
    """Whether LMCache finds each key, and what it reads there: shape, element type, payload."""
    found: list[Any] = []
    remote = backend(asked)[0]
    for text in asked["keys"]:
        key = CacheEngineKey.from_string(text)
        chunk = remote.get_blocking(key) if remote.contains(key) else None
        if chunk is None:
            found.append(None)
        else:
            payload = base64.b64encode(bytes(chunk.byte_array)).decode()
            found.append([list(chunk.get_shape()), str(chunk.get_dtype()), payload])
    return found


def listed(asked: Mapping[str, Any]) -> list[str]:
    """The keys that LMCache lists."""
    remote = backend(asked)[0]
    return sorted(asyncio.run_coroutine_threadsafe(remote.connection.list(), remote.loop).result(CEILING))


if __name__ == "__main__":
    answers, sys.stdout = sys.stdout, sys.stderr  # LMCache logs to standard output
    for line in sys.stdin:
        request = json.loads(line)
        done = {"keys": keys, "write": write, "read": read, "list": listed}[request["do"]](request)
        answers.write(json.dumps(done) + "\n")
        answers.flush()
    os._exit(0)
