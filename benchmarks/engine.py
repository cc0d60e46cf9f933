"""Row `store/retrieve`: the embedded engine's chunks of 1 MiB, against memcpy and against the bare system calls."""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from bench import arguments, finish, table

from lmcache_admin.engine import Configuration, Engine, Manager

CHUNK_TOKENS = 256
SHAPE = {"layers": 8, "heads": 1, "head_size": 128, "block_size": 16}  # float16: 1 MiB per chunk
MIB = 1024 * 1024
TURN = 16  # chunks of one call to memory
CHAINS = (1, 4, 16)  # chunks of one call to disk
MEMORY_ROWS = [
    ("memory store", "memcpy", 0.5),  # into memory that chunks were in before, as in any cache that is full
    ("memory first store", "memcpy", None),  # into memory that the system has to hand out first
    ("memory retrieve", "memcpy", 0.5),
]
DISK_ROWS = [
    ("disk store", "bare write", 0.8),
    ("disk retrieve", "bare read", 0.8),
    ("cached retrieve", "cached read", None),  # the system still has the file in its page cache
    ("cached retrieve", "cached read, one place", None),  # into one buffer, which stays in the processor's cache
]
Act = Callable[[range], None]
Figures = dict[str, float]


def engine_with(shape: dict[str, int], chunk_size: int, **keys: Any) -> Engine:
    extra = {f"embedded_engine_{name}": value for name, value in shape.items()}
    values = {"chunk_size": chunk_size, "max_local_cpu_size": 2.0, "extra_config": extra, **keys}
    manager = Manager(Configuration.from_mapping(values, {}))
    manager.start()
    if manager.lmcache_engine is None:
        raise SystemExit("the engine did not start")
    return manager.lmcache_engine


class Bare:
    """The limits: chunk after chunk, nothing looked up, nothing checked.

    Args:
        folder: Where to write.
        chunks: How many; each has a place of its own in memory that was touched before, as the KV caches were.
    """

    def __init__(self, folder: Path, chunks: int) -> None:
        self.folder = folder
        self.payload = os.urandom(MIB)
        self.source = np.ones((chunks, MIB), np.uint8)
        self.target = np.full((chunks, MIB), 2, np.uint8)
        folder.mkdir()

    def copy(self, names: range) -> None:
        for number in names:
            np.copyto(self.target[number], self.source[number])

    def write(self, names: range) -> None:
        for number in names:
            temporary, final = self.folder / f".{number}", self.folder / f"{number}"
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            os.write(descriptor, self.payload)
            os.fsync(descriptor)
            os.rename(temporary, final)
            os.close(descriptor)
            above = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
            os.fsync(above)
            os.close(above)

    def read(self, names: range) -> None:
        for number in names:
            self._read(number, number)

    def read_over(self, names: range) -> None:
        for number in names:
            self._read(number, 0)

    def _read(self, number: int, place: int) -> None:
        descriptor = os.open(self.folder / f"{number}", os.O_RDONLY)
        os.readv(descriptor, [self.target[place].data])
        os.close(descriptor)


class Ours:
    """The engine by its public methods; each chunk number stands for tokens of its own."""

    def __init__(self, chunks: int, **keys: Any) -> None:
        shape = {**SHAPE, "blocks": chunks * CHUNK_TOKENS // SHAPE["block_size"]}
        self.engine = engine_with(shape, CHUNK_TOKENS, **keys)

    def store(self, names: range) -> None:
        slots = np.arange(names.start * CHUNK_TOKENS, names.stop * CHUNK_TOKENS)
        if self.engine.store(tokens=slots.tolist(), slot_mapping=slots) != len(slots):
            raise SystemExit("a chunk was not stored")

    def retrieve(self, names: range) -> None:
        slots = np.arange(names.start * CHUNK_TOKENS, names.stop * CHUNK_TOKENS)
        if self.engine.retrieve(tokens=slots.tolist(), slot_mapping=slots).sum() != len(slots):
            raise SystemExit("a chunk was not loaded")


def forget(*folders: Path) -> None:
    """Drop what was written from the page cache: what is read next comes from the medium."""
    for path in (path for folder in folders for path in folder.iterdir()):
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def take_turns(found: Figures, chunks: int, chain: int, acts: dict[str, Act]) -> None:
    """Ours and its limit take turns, chain by chain, since a machine's speed drifts."""
    for start in range(0, chunks, chain):
        names = range(start, min(start + chain, chunks))
        for name, act in acts.items():
            began = time.perf_counter()
            act(names)
            found[name] += time.perf_counter() - began


def memory_round(chunks: int, folder: Path) -> Figures:
    found: Figures = defaultdict(float)
    ours, bare = Ours(chunks), Bare(folder / "bare", chunks)
    take_turns(found, chunks, chunks, {"memory first store": ours.store})
    ours.engine.clear()
    take_turns(found, chunks, TURN, {"memory store": ours.store, "memcpy": bare.copy, "memory retrieve": ours.retrieve})
    ours.engine.close()
    return found


def disk_round(chunks: int, chain: int, folder: Path) -> Figures:
    found: Figures = defaultdict(float)
    bare = Bare(folder / "bare", chunks)
    ours = Ours(chunks, local_cpu=False, local_disk=str(folder / "ours"), max_local_disk_size=4.0)
    take_turns(found, chunks, chain, {"disk store": ours.store, "bare write": bare.write})
    cached = {"cached retrieve": ours.retrieve, "cached read": bare.read, "cached read, one place": bare.read_over}
    take_turns(found, chunks, chain, cached)
    forget(bare.folder, folder / "ours")
    take_turns(found, chunks, chain, {"disk retrieve": ours.retrieve, "bare read": bare.read})
    ours.engine.close()
    return found


def rounds_of(options: argparse.Namespace, act: Callable[[Path], Figures]) -> list[Figures]:
    found = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(dir=options.folder or None) as folder:
            found.append(act(Path(folder)))
    return found


def row(chain: int, chunks: int, rounds: list[Figures], ours: str, limit: str, goal: float | None) -> list[object]:
    speeds = [chunks / statistics.median(one[name] for one in rounds) for name in (ours, limit)]
    ratios = [one[limit] / one[ours] for one in rounds]
    return [ours, chain, *speeds, limit, statistics.median(ratios), min(ratios), goal]


def main() -> None:
    options = arguments(__doc__, chunks=64, rounds=7, folder="")
    results = {"memory": rounds_of(options, partial(memory_round, options.chunks))}
    rows = [row(TURN, options.chunks, results["memory"], *names) for names in MEMORY_ROWS]
    for chain in CHAINS:
        found = rounds_of(options, partial(disk_round, options.chunks, chain))
        results[f"disk, chains of {chain}"] = found
        rows += [row(chain, options.chunks, found, *names) for names in DISK_ROWS]
    head = ["what", "chunks a call", "ours MiB/s", "limit MiB/s", "limit", "ratio", "worst round", "goal"]
    finish(options, "engine", results, table(head, rows))


if __name__ == "__main__":
    main()
