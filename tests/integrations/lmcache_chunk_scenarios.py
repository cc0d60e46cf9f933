"""Run by an interpreter with LMCache, once for all tests of test_lmcache_chunks.py: prints facts as JSON.

Chunk files that LMCache itself wrote are loaded into engines of LMCache, among files that would stop one.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lmcache_scenarios import engine

from lmcache_admin.integrations.lmcache_chunks import open_source
from lmcache_admin.integrations.lmcache_runtime import LMCacheRuntime
from lmcache_admin.jobs import Job
from lmcache_admin.operations.load_fs_chunks import Wanted, load

CHUNK, SIZE, COUNT = 16, 8192, 40
OFF = {"internal_api_server_enabled": False}


def url(folder: Path) -> str:
    return f"fs://localhost:0{folder}"


def store_of(folder: Path, **extra: Any) -> dict[str, Any]:
    return {"remote_url": url(folder), "remote_serde": "naive", "extra_config": extra}


def loaded(manager: Any, folder: Path, **extra: Any) -> dict[str, Any]:
    """Load a folder into an engine; `seconds` tells how long it took."""
    start = time.monotonic()
    wanted = Wanted("", None, 1000)
    answer = load(LMCacheRuntime(), manager.lmcache_engine, store_of(folder, **extra), wanted, Job.detached())
    return {**answer, "seconds": time.monotonic() - start}


def memory(manager: Any) -> Any:
    return manager.lmcache_engine.storage_manager.allocator_backend


def alive(manager: Any) -> bool:
    """Whether the storage manager's loop still runs what it is given."""
    future = asyncio.run_coroutine_threadsafe(asyncio.sleep(0, True), manager.lmcache_engine.storage_manager.loop)
    return bool(future.result(20))


def occupied(manager: Any) -> int:
    """Bytes of the engine's memory that are taken."""
    return int(memory(manager).memory_allocator.pin_allocator.total_allocated_size)


def written_facts(root: Path, folder: Path) -> dict[str, Any]:
    """An engine writes chunks through its own remote backend, whose gauge a load must not take over."""
    import torch

    folder.mkdir()
    with engine(root, remote_url=url(folder), local_disk=None, **OFF) as manager:
        cache, tokens = manager.lmcache_engine, list(range(COUNT * CHUNK))
        cache.store(tokens=tokens, slot_mapping=torch.arange(len(tokens)), kvcaches=None, req_id="scenario")
        own = cache.storage_manager.storage_backends["RemoteBackend"]
        end = time.monotonic() + 60
        while own.put_tasks or len(list(folder.glob("*.data"))) < COUNT:
            assert time.monotonic() < end, "LMCache did not write its chunks"
            time.sleep(0.01)
        own.put_tasks.update(("a", "b", "c"))  # what the gauge counts
        before, answer, after = gauge(), loaded(manager, folder), gauge()
        own.put_tasks.clear()
        return {"loaded": answer["loaded_chunks"], "gauge": [before, after, gauge()]}


def gauge() -> float | None:
    from prometheus_client import REGISTRY

    samples = (sample for metric in REGISTRY.collect() for sample in metric.samples)
    return next((sample.value for sample in samples if sample.name == "lmcache:remote_put_task_num"), None)


def fresh_facts(root: Path, folder: Path) -> dict[str, Any]:
    """A load into an engine that has nothing, then again."""
    files = {path.stem: path.read_bytes()[28:] for path in folder.iterdir()}
    with engine(root, **OFF) as manager:
        answer = loaded(manager, folder)
        held = {key.to_string(): chunk for key, chunk in memory(manager).hot_cache.items()}
        taken = occupied(manager)
        again = loaded(manager, folder)
        return {
            "files": len(files),
            "answer": answer,
            "equal": {key: bytes(chunk.byte_array) for key, chunk in held.items()} == files,
            "references": sorted({chunk.get_ref_count() for chunk in held.values()}),
            "shapes": sorted({str(list(chunk.get_shape())) for chunk in held.values()}),
            "again": again["loaded_chunks"],
            "taken": [taken, occupied(manager)],
        }


def header(length: int, tokens: int, dtype: int = 2, layers: int = 2, form: int = 1) -> bytes:
    return struct.pack("<7i", length, form, dtype, 2, layers, tokens, 64)


BAD: Mapping[str, bytes] = {
    "huge": header(2**31 - 1, 2**30),
    "more tokens": header(SIZE * 20, 320) + b"k" * SIZE * 20,
    "other layers": header(SIZE * 2, CHUNK, layers=4) + b"k" * SIZE * 2,
    "other type": header(SIZE * 2, CHUNK, dtype=4) + b"k" * SIZE * 2,
    "other format": header(SIZE, CHUNK, form=6) + b"k" * SIZE,
    "truncated": header(SIZE, CHUNK) + b"k" * 100,
    "no header": b"not a chunk",
    "unknown type": header(SIZE, CHUNK, dtype=99) + b"k" * SIZE,
}


def bad_facts(root: Path, good: Path) -> dict[str, Any]:
    """Files that LMCache would wait for without an end, or take in, among good ones."""
    folder = root / "bad"
    folder.mkdir()
    keys = {case: f"model@1@0@{number:x}@half" for number, case in enumerate(BAD, 1)}
    for case, content in BAD.items():
        (folder / f"{keys[case]}.data").write_bytes(content)
    with engine(root, **OFF) as manager:
        loaded(manager, good)
        before = set(memory(manager).hot_cache), occupied(manager)
        for name in ("other@1@0@1@half", "model@2@0@1@half", "model@1@0@1@float", "model@1@7@1@half", "garbage"):
            (folder / f"{name}.data").write_bytes(header(SIZE, CHUNK) + b"k" * SIZE)
        os.mkfifo(folder / "model@1@0@aa@half.data")
        (folder / "model@1@0@ff@half.data").write_bytes(header(SIZE // 4, CHUNK // 4) + b"k" * (SIZE // 4))
        answer = loaded(manager, folder)
        after = set(memory(manager).hot_cache), occupied(manager)
        reasons = answer["failed_reasons"]
        return {
            "answer": answer,
            "reasons": {case: reasons.get(key) for case, key in keys.items()},
            "kept": before[0] <= after[0],
            "more": [len(after[0]) - len(before[0]), after[1] - before[1]],
            "alive": alive(manager),
        }


def full_facts(root: Path, good: Path) -> dict[str, Any]:
    """More chunks than memory holds, then memory that requests hold, then memory that was made anew."""
    facts: dict[str, Any] = {}
    with engine(root, max_local_cpu_size=10 * SIZE / 1024**3, **OFF) as manager:
        facts["small"] = {**loaded(manager, good), "held": len(memory(manager).hot_cache), "alive": alive(manager)}
    with engine(root, max_local_cpu_size=10 * SIZE / 1024**3, **OFF) as manager:
        shapes, dtypes = manager.lmcache_engine.metadata.get_shapes(CHUNK), manager.lmcache_engine.metadata.get_dtypes()
        used = [memory(manager).allocate(shapes, dtypes) for _ in range(10)]
        facts["in use"] = {**loaded(manager, good), "alive": alive(manager)}
        for chunk in used:
            chunk.ref_count_down()
        facts["free again"] = loaded(manager, good)
    with engine(root, **OFF) as manager:
        runtime, cache = LMCacheRuntime(), manager.lmcache_engine
        source = runtime.open_chunk_source(cache, store_of(good))
        assert source is not None
        keys = source.keys()
        first = source.load(keys[0])
        runtime.recreate_backend(cache.storage_manager, "LocalCPUBackend")
        facts["made anew"] = [list(first), list(source.load(keys[1]))]
        source.close()
    return facts


def other_facts(root: Path, good: Path) -> dict[str, Any]:
    """`file://`, a URL without a port, and a store without headers."""
    facts: dict[str, Any] = {}
    bare = root / "bare"
    bare.mkdir()
    for path in good.iterdir():
        (bare / path.name).write_bytes(path.read_bytes()[28:])
    runtime = LMCacheRuntime()
    with engine(root, chunk_size=256, **OFF) as manager:
        cache = manager.lmcache_engine
        source = runtime.open_chunk_source(cache, {**store_of(good), "remote_url": f"file://{good}"})
        facts["file"] = source is not None and len(source.keys())
        unconnected = runtime.open_chunk_source(cache, {**store_of(good), "remote_url": f"fs://{good}"})
        facts["without host and port"] = unconnected is None
        facts["without headers"] = loaded(manager, bare, save_chunk_meta=False)["loaded_chunks"]
    return facts


def shared_facts(root: Path) -> dict[str, Any]:
    """An MLA model, whose second worker reads the chunks of the first and keeps them as its own."""
    import threading

    import torch
    from lmcache.v1.config import LMCacheEngineConfig
    from lmcache.v1.metadata import LMCacheMetadata
    from lmcache.v1.storage_backend.local_cpu_backend import LocalCPUBackend

    folder = root / "shared"
    folder.mkdir()
    content = struct.pack("<7i", SIZE // 2, 6, 2, 1, 2, CHUNK, 64) + b"k" * (SIZE // 2)
    for workers, worker in ((1, 0), (2, 0), (2, 1)):
        (folder / f"model@{workers}@{worker}@a@half.data").write_bytes(content)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    facts = {}
    for first_rank_only in (True, False):
        extra = {"save_only_first_rank": first_rank_only, "first_rank_max_local_cpu_size": 0.01}
        config = LMCacheEngineConfig.from_dict({"chunk_size": CHUNK, "max_local_cpu_size": 0.01, "extra_config": extra})
        metadata = LMCacheMetadata(
            "model", 2, 2, 1, 1, torch.float16, (2, 1, CHUNK, 1, 64), True, "worker", chunk_size=CHUNK
        )
        backend = LocalCPUBackend(config, metadata, dst_device="cpu")
        storage = SimpleNamespace(allocator_backend=backend, loop=loop, storage_backends={})
        cache = SimpleNamespace(config=config, metadata=metadata, storage_manager=storage)
        source = open_source(cache, store_of(folder))
        assert source is not None
        results = {key: [*source.load(key)] for key in sorted(source.keys())}
        kept = [key.to_string() for key in backend.hot_cache]
        facts["first rank" if first_rank_only else "each rank"] = {"results": results, "kept": kept}
        source.close()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    return facts


if __name__ == "__main__":
    out = os.dup(1)
    os.dup2(2, 1)  # LMCache's log goes to stderr; stdout is for the facts
    root = Path(sys.argv[1])
    good = root / "good"
    facts = {
        "written": written_facts(root, good),
        "fresh": fresh_facts(root, good),
        "bad": bad_facts(root, good),
        "full": full_facts(root, good),
        "other": other_facts(root, good),
        "shared": shared_facts(root),
    }
    with os.fdopen(out, "w") as stream:
        json.dump(facts, stream)
