"""What a chain's way through the backends keeps to: what is synced when, what is asked, what a crash leaves."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import lmcache_admin
from lmcache_admin.engine import Engine
from lmcache_admin.engine.aside import TEMPORARY
from lmcache_admin.engine.backends.disk import HEADER_ROOM, LocalDiskBackend
from lmcache_admin.engine.backends.index import Index
from lmcache_admin.engine.backends.memory import LocalCPUBackend
from lmcache_admin.engine.chunks import Chunk, ChunkKey, Layout
from lmcache_admin.engine.transfer import BATCH, Piece, Reader, Writer

DISK = "LocalDiskBackend"
LAYOUT = Layout(2, 2, 8, "half")
SIZE = LAYOUT.nbytes(16)
MakeEngine = Callable[..., Engine]


def key(number: int) -> ChunkKey:
    return ChunkKey("m", 1, 0, number, "half")


def chunk(number: int) -> Chunk:
    return Chunk(LAYOUT, 16, number.to_bytes(2, "big") * (SIZE // 2))


def pieces(count: int) -> list[Piece]:
    return [Piece(key(number), SIZE, lambda number=number: chunk(number)) for number in range(count)]  # type: ignore[misc]


def backend(*folders: Path, chunks: int = 100) -> LocalDiskBackend:
    return LocalDiskBackend(folders, chunks * (SIZE + HEADER_ROOM), layout=LAYOUT)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Syncs and renames in their order. They are replaced, since the system keeps no record of its own."""
    found: list[tuple[str, str]] = []
    fsync, rename = os.fsync, os.rename

    def noted_fsync(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        fsync(descriptor)
        found.append(("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file", path))

    def noted_rename(old: str, new: str) -> None:
        rename(old, new)
        found.append(("name", str(old)))

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "rename", noted_rename)
    return found


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="asks Linux which file a descriptor is")
@pytest.mark.parametrize("count", [1, 5, BATCH + 1])
def test_files_are_synced_before_they_get_names_and_folders_before_the_store_ends(
    tmp_path: Path, steps: list[tuple[str, str]], count: int
) -> None:
    disk = backend(tmp_path / "a", tmp_path / "b")
    writer = Writer({DISK: disk})
    writer.write(pieces(count))
    assert all(writer.acknowledged(key(number)) for number in range(count))
    named = [place for place, (what, _) in enumerate(steps) if what == "name"]
    assert len(named) == count
    for place in named:
        assert ("file", steps[place][1]) in steps[:place]
        assert ("folder", os.path.dirname(steps[place][1])) in steps[place:]


CRASH = """
import json, os, sys
from lmcache_admin.engine import Configuration, Manager
values = {"chunk_size": 16, "local_disk": sys.argv[1], "max_local_disk_size": 0.1, "local_cpu": False}
manager = Manager(Configuration.from_mapping(values, {}))
manager.start()
engine, left, fsync = manager.lmcache_engine, int(sys.argv[2]), os.fsync

def crash_in_time(descriptor):  # a kill at one certain moment cannot be had from outside
    global left
    if left == 0:
        os._exit(3)
    left -= 1
    fsync(descriptor)

os.fsync = crash_in_time
print(json.dumps(engine.store(tokens=list(range(64)))), flush=True)
"""


@pytest.mark.parametrize("syncs", range(6))
def test_after_a_crash_between_two_syncs_what_has_its_name_is_found_and_the_rest_is_gone(
    tmp_path: Path, make_engine: MakeEngine, syncs: int
) -> None:
    environ = {**os.environ, "PYTHONPATH": str(Path(lmcache_admin.__file__).parents[1])}
    command = [sys.executable, "-c", CRASH, str(tmp_path / "chunks"), str(syncs)]
    answer = subprocess.run(command, env=environ, capture_output=True, text=True)
    whole = syncs == 5  # four files and their folder
    assert (answer.returncode, answer.stdout) == ((0, "64\n") if whole else (3, "")), answer.stderr
    engine = make_engine(local_cpu=False)
    assert list((tmp_path / "chunks").glob(f"{TEMPORARY}*")) == []
    assert engine.retrieve(tokens=list(range(64))).sum() == min(syncs, 4) * 16
    assert engine.store(tokens=list(range(64))) == 64


def test_what_was_begun_is_kept_when_a_later_chunk_cannot_be_gathered(tmp_path: Path) -> None:
    disk = backend(tmp_path, chunks=4)

    def broken() -> Chunk:
        raise MemoryError

    with pytest.raises(MemoryError):
        Writer({DISK: disk}).write([*pieces(2), Piece(key(9), SIZE, broken)])
    assert [path.suffix for path in tmp_path.iterdir()] == [".chunk"] * 2
    assert disk.get(key(1)) == chunk(1)
    writer = Writer({DISK: disk})
    writer.write(pieces(4))
    assert disk.stats()["evictions"] == 0


def test_a_chain_of_several_batches_that_just_fits_is_kept_whole(tmp_path: Path) -> None:
    disk = backend(tmp_path, chunks=3 * BATCH)
    writer = Writer({DISK: disk})
    writer.write(pieces(3 * BATCH + 5))
    assert [writer.acknowledged(key(number)) for number in range(3 * BATCH + 5)] == [True] * 3 * BATCH + [False] * 5


def test_a_file_that_has_its_name_while_it_is_still_being_written_counts_once() -> None:
    index = Index(100)
    index.reserve("a", 60)
    stamp = index.scan_due()
    assert stamp is not None
    index.merge({"a": (50, 1), "b": (30, 2)}, stamp)
    assert index.totals() == (1, 30)
    assert index.victim() is None
    index.release("a", 60)
    index.add("a", 50, 3)
    assert index.totals() == (2, 80)


def test_two_writers_of_one_file_release_it_once_each() -> None:
    index = Index(100)
    index.reserve("a", 60)
    index.reserve("a", 60)
    index.release("a", 60)
    index.merge({"a": (50, 1)}, 0)
    assert index.totals() == (0, 0)
    index.release("a", 60)
    index.merge({"a": (50, 1)}, 0)
    assert index.totals() == (1, 50)


def test_a_retrieve_counts_one_miss_where_the_chain_ends(make_engine: MakeEngine) -> None:
    engine = make_engine(local_cpu=False)
    engine.store(tokens=list(range(48)))
    assert engine.retrieve(tokens=list(range(480))).sum() == 48
    assert engine.storage_manager is not None
    stats = engine.storage_manager.stats()[DISK]
    assert (stats["hits"], stats["misses"]) == (3, 1)


def test_a_chunk_that_goes_while_it_is_expected_is_a_miss(tmp_path: Path) -> None:
    disk = backend(tmp_path)
    for number in range(4):
        disk.put(key(number), chunk(number))
    given = Reader({DISK: disk}, None).read(key(number) for number in range(4))
    assert next(given) == chunk(0)
    disk.remove(key(2))
    assert list(given) == [chunk(1)]


def test_a_chunk_in_memory_is_not_read_from_disk_ahead(tmp_path: Path) -> None:
    disk, memory = backend(tmp_path), LocalCPUBackend(10**6)
    for number in range(3):
        memory.put(key(number), chunk(number))
    disk.put(key(3), chunk(3))
    expected: list[ChunkKey] = []

    def noted(one: ChunkKey) -> bool:
        expected.append(one)
        return True

    disk.expect = noted  # type: ignore[method-assign]
    found = list(Reader({"memory": memory, DISK: disk}, memory).read(key(number) for number in range(4)))
    assert found == [chunk(number) for number in range(4)]
    assert expected == [key(3)]
    assert memory.contains(key(3))


class Elsewhere(LocalCPUBackend):
    """Stands for a store on another machine: outlives the process, cannot be told ahead; each question takes long."""

    durable = True

    def contains(self, key: ChunkKey) -> bool:
        raise AssertionError("asked for no purpose")


def test_a_store_elsewhere_is_not_asked_before_it_is_read() -> None:
    other = Elsewhere(10**6)
    for number in range(5):
        other.put(key(number), chunk(number))
    given = Reader({"memory": LocalCPUBackend(10**6), "other": other}, None).read(key(number) for number in range(9))
    assert list(given) == [chunk(number) for number in range(5)]
