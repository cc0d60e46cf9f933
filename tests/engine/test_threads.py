"""Everything at once: stores, reads and management from many threads, without an error or a wrong byte."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from lmcache_admin.engine import Engine

MEMORY, DISK = "LocalCPUBackend", "LocalDiskBackend"


def caches_with(engine: Engine, number: int) -> list[Any]:
    return [np.full_like(cache, number) for cache in engine.gpu_connector.kvcaches]


def test_management_beside_stores_and_reads_gives_no_error_and_no_wrong_byte(
    make_engine: Callable[..., Engine],
) -> None:
    size = 300_000 / 1024**3  # about 35 chunks, so that there are evictions too
    engine = make_engine(max_local_disk_size=size, max_local_cpu_size=size)
    storage = engine.storage_manager
    assert storage is not None
    faults: list[str] = []
    done = threading.Event()

    def guarded(work: Callable[[int], object], step: int) -> None:
        try:
            work(step)
        except Exception as error:  # noqa: BLE001 - any error at all is a finding
            faults.append(repr(error))

    def store_and_read(step: int) -> None:
        number = step % 12
        tokens = list(range(number * 1000, number * 1000 + 48))
        engine.store(tokens=tokens, kvcaches=caches_with(engine, number + 1))
        target = caches_with(engine, 0)
        loaded = engine.retrieve(tokens=tokens, kvcaches=target)
        for cache in target:
            flat = cache.reshape(2, -1, *cache.shape[3:])
            if not (flat[:, :48][:, loaded] == number + 1).all() or flat[:, :48][:, ~loaded].any():
                faults.append(f"wrong bytes of {number}")

    def manage(step: int) -> None:
        acts: list[Callable[[], object]] = [
            lambda: engine.clear([MEMORY]),
            lambda: storage.recreate_backend(MEMORY),
            lambda: engine.set_hot_cache(step % 2 == 0),
            lambda: storage.set_backend_bypass(DISK, step % 3 == 0),
            lambda: storage.close_backend(DISK),
            storage.create_backends,
            engine.clear,
            lambda: storage.probe_backend(MEMORY),
            storage.stats,
            lambda: engine.freeze(step % 5 == 0),
        ]
        acts[step % len(acts)]()

    def work(seed: int) -> None:
        for step in range(seed, seed + 60):
            guarded(store_and_read, step)

    def manage_until_done() -> None:
        for step in itertools.takewhile(lambda _: not done.is_set(), itertools.count()):
            guarded(manage, step)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    manager = threading.Thread(target=manage_until_done)
    for thread in [*workers, manager]:
        thread.start()
    for thread in workers:
        thread.join()
    done.set()
    manager.join()
    assert faults == []
    engine.freeze(False)
    storage.set_backend_bypass(DISK, False)
    storage.create_backends()
    engine.clear()
    assert [one["bytes"] for one in storage.stats().values()] == [0, 0]
