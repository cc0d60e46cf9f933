"""Row `store/retrieve`: the embedded engine's chunks of 1 MiB, against memcpy and against the bare system calls."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bench import arguments, finish, table

from lmcache_admin.engine import Configuration, Engine, Manager

CHUNK_TOKENS = 256
SHAPE = {"layers": 8, "heads": 1, "head_size": 128, "block_size": 16}  # float16: 1 MiB per chunk
MIB = 1024 * 1024
TURN = 4  # chunks of one side before the other's turn


def engine_with(chunks: int, **keys: Any) -> Engine:
    shape = {**SHAPE, "blocks": chunks * CHUNK_TOKENS // SHAPE["block_size"]}
    extra = {f"embedded_engine_{name}": value for name, value in shape.items()}
    values = {"chunk_size": CHUNK_TOKENS, "max_local_cpu_size": 2.0, "extra_config": extra, **keys}
    manager = Manager(Configuration.from_mapping(values, {}))
    manager.start()
    if manager.lmcache_engine is None:
        raise SystemExit("the engine did not start")
    return manager.lmcache_engine


def copied(chunks: int) -> float:
    """memcpy of as many bytes, chunk by chunk, from and to memory that was touched before."""
    source, target = np.ones((chunks, MIB), np.uint8), np.full((chunks, MIB), 2, np.uint8)
    began = time.perf_counter()
    for number in range(chunks):
        np.copyto(target[number], source[number])
    return time.perf_counter() - began


def written(folder: Path, names: range) -> float:
    """The same calls without header and checksum: write, fsync, rename, fsync of the folder."""
    payload = os.urandom(MIB)
    began = time.perf_counter()
    for number in names:
        temporary, final = folder / f".{number}", folder / f"{number}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(descriptor, payload)
        os.fsync(descriptor)
        os.rename(temporary, final)
        os.close(descriptor)
        above = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(above)
        os.close(above)
    return time.perf_counter() - began


def read(folder: Path, names: range) -> float:
    """Open, read and close each of the bare files."""
    buffer = bytearray(MIB)
    began = time.perf_counter()
    for number in names:
        with open(folder / f"{number}", "rb", buffering=0) as file:
            file.readinto(buffer)
    return time.perf_counter() - began


def stored(engine: Engine, names: range) -> float:
    """Store chunks under tokens of their own."""
    tokens = list(range(names.start * CHUNK_TOKENS, names.stop * CHUNK_TOKENS))
    began = time.perf_counter()
    count = engine.store(tokens=tokens)
    seconds = time.perf_counter() - began
    if count != len(tokens):
        raise SystemExit(f"stored {count} of {len(tokens)} tokens")
    return seconds


def retrieved(engine: Engine, names: range) -> float:
    """Retrieve what `stored` has stored."""
    tokens = list(range(names.start * CHUNK_TOKENS, names.stop * CHUNK_TOKENS))
    began = time.perf_counter()
    count = int(engine.retrieve(tokens=tokens).sum())
    seconds = time.perf_counter() - began
    if count != len(tokens):
        raise SystemExit(f"loaded {count} of {len(tokens)} tokens")
    return seconds


def measured(chunks: int, folder: Path) -> dict[str, float]:
    """One round, seconds by name; ours and its limit take turns, since a machine's speed drifts."""
    (folder / "bare").mkdir()
    memory = engine_with(chunks)
    disk = engine_with(chunks, local_cpu=False, local_disk=str(folder / "ours"), max_local_disk_size=4.0)
    found = {"memory first store": stored(memory, range(chunks)), "memcpy": copied(chunks)}
    found["memory retrieve"] = retrieved(memory, range(chunks))
    memory.clear()
    found["memory store"] = stored(memory, range(chunks))
    found |= dict.fromkeys(["disk store", "bare write", "disk retrieve", "bare read"], 0.0)
    for start in range(0, chunks, TURN):
        names = range(start, min(start + TURN, chunks))
        found["disk store"] += stored(disk, names)
        found["bare write"] += written(folder / "bare", names)
        found["disk retrieve"] += retrieved(disk, names)
        found["bare read"] += read(folder / "bare", names)
    return found


ROWS = [
    ("memory store", "memcpy", 0.5),  # into memory that chunks were in before, as in any cache that is full
    ("memory first store", "memcpy", None),  # into memory that the system has to hand out first
    ("memory retrieve", "memcpy", 0.5),
    ("disk store", "bare write", 0.8),
    ("disk retrieve", "bare read", None),
]


def main() -> None:
    options = arguments(__doc__, chunks=64, rounds=7, folder="")
    rounds: list[dict[str, float]] = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(dir=options.folder or None) as folder:
            rounds.append(measured(options.chunks, Path(folder)))
    middle: Callable[[str], float] = lambda name: statistics.median(one[name] for one in rounds)  # noqa: E731
    rows = []
    for ours, limit, goal in ROWS:
        ratio = statistics.median(one[limit] / one[ours] for one in rounds)
        speeds = [options.chunks / middle(name) for name in (ours, limit)]
        rows.append([ours, *speeds, limit, ratio, goal])
    finish(options, "store", rounds, table(["what", "ours MiB/s", "limit MiB/s", "limit", "ratio", "goal"], rows))


if __name__ == "__main__":
    main()
