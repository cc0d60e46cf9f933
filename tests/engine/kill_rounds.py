"""Kill a storing process again and again and look for lost or wrong chunks; a program that the test runs.

Arguments: folder or `remote_url`, rounds, seed. Each round forks a child that stores chains from two threads, one of
single chunks and one of three, whose bytes follow from their tokens, and tells by a pipe each chain after its store
has returned. The child is killed at a random moment. Then a fresh engine on the same place must find every acknowledged
chain, and of all that were begun none with a wrong byte. Prints the findings as JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np

from lmcache_admin.engine import Configuration, Engine, Manager
from lmcache_admin.engine.aside import TEMPORARY

CHUNK = 16
SHAPE = {"layers": 2, "blocks": 3, "block_size": CHUNK, "heads": 16, "head_size": 64}  # 128 KiB a chunk
LARGEST_ROUND = 10_000


def engine_on(place: str) -> Engine:
    extra = {f"embedded_engine_{name}": value for name, value in SHAPE.items()}
    values = {"remote_url": place} if "://" in place else {"local_disk": place, "max_local_disk_size": 4.0}
    memory = {"max_local_cpu_size": 0.1, "local_cpu": False}
    manager = Manager(Configuration.from_mapping({**values, **memory, "chunk_size": CHUNK, "extra_config": extra}, {}))
    manager.start()
    assert manager.lmcache_engine is not None
    return manager.lmcache_engine


def length(number: int) -> int:
    """Chunks of a chain."""
    return 3 if number % 2 else 1


def tokens(number: int) -> list[int]:
    first = 3 * number * CHUNK
    return list(range(first, first + length(number) * CHUNK))


def content(engine: Engine, number: int) -> list[np.ndarray]:
    """A block of each layer for each chunk, as chain `number` has it."""
    shape = (2, length(number), *engine.gpu_connector.kvcaches[0].shape[2:])
    source = np.random.default_rng(number)
    return [source.integers(0, 2**16, shape, np.uint16).view(np.float16) for _ in range(SHAPE["layers"])]


def store_forever(place: str, first: int, pipe: int) -> None:
    engine = engine_on(place)

    def work(offset: int) -> None:
        for number in range(first + offset, first + LARGEST_ROUND, 2):
            caches = [np.zeros_like(cache) for cache in engine.gpu_connector.kvcaches]
            for cache, block in zip(caches, content(engine, number), strict=True):
                cache[:, : length(number)] = block
            if engine.store(tokens=tokens(number), kvcaches=caches) == length(number) * CHUNK:
                os.write(pipe, f"{number}\n".encode())

    threads = [threading.Thread(target=work, args=(offset,)) for offset in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def acknowledged_until_killed(place: str, first: int, moment: random.Random) -> list[int]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        store_forever(place, first, writing)
        os._exit(1)
    os.close(writing)
    wanted = moment.randrange(1, 12)
    with os.fdopen(reading) as lines:
        told = [int(lines.readline()) for _ in range(wanted)]
        time.sleep(moment.random() * 0.004)  # the random moment itself, nothing is waited for
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return told + [int(line) for line in lines if line.endswith("\n")]


def check(place: str, first: int, acknowledged: list[int], found: dict[str, int]) -> None:
    engine = engine_on(place)
    for number in range(first, max(acknowledged) + 50):
        caches = [np.zeros_like(cache) for cache in engine.gpu_connector.kvcaches]
        loaded = int(engine.retrieve(tokens=tokens(number), kvcaches=caches).sum())
        expected = content(engine, number)
        blocks = loaded // CHUNK
        same = all(
            got[:, :blocks].tobytes() == block[:, :blocks].tobytes() and not got[:, blocks:].any()
            for got, block in zip(caches, expected, strict=True)
        )
        found["acknowledged"] += number in acknowledged
        found["lost"] += number in acknowledged and blocks != length(number)
        found["wrong"] += not same
    found["leftovers"] += len(unfinished(place))
    engine.clear()


def unfinished(place: str) -> list[Path]:
    """Temporary files; of a store without files none."""
    folder = place.removeprefix("file://")
    return [] if "://" in folder else list(Path(folder).rglob(f"{TEMPORARY}*"))


def main(place: str, rounds: int, seed: int) -> None:
    moment = random.Random(seed)  # noqa: S311 - a moment to repeat, not a secret
    found = dict.fromkeys(["rounds", "acknowledged", "killed_while_writing", "lost", "wrong", "leftovers"], 0)
    for turn in range(rounds):
        acknowledged = acknowledged_until_killed(place, turn * LARGEST_ROUND, moment)
        found["rounds"] += 1
        found["killed_while_writing"] += bool(unfinished(place))
        check(place, turn * LARGEST_ROUND, acknowledged, found)
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
