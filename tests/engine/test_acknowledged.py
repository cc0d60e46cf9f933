"""What a store acknowledges is what the next process finds, also on disks that fail and files that are damaged."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import lmcache_admin
from lmcache_admin.engine import Engine
from lmcache_admin.engine.backends.disk import LocalDiskBackend
from lmcache_admin.engine.backends.memory import LocalCPUBackend
from lmcache_admin.engine.backends.protocol import COUNTERS, Backend
from lmcache_admin.engine.chunks import Chunk, ChunkKey, Layout
from lmcache_admin.engine.transfer import Piece, Writer

PROGRAM = Path(__file__).with_name("failing_disks.py")
MEMORY, DISK = "LocalCPUBackend", "LocalDiskBackend"
TOKENS = list(range(64))
LAYOUT = Layout(2, 2, 8, "half")
KEYS = [ChunkKey("m", 1, 0, number, "half") for number in range(4)]
CHUNK = Chunk(LAYOUT, 16, bytes(LAYOUT.nbytes(16)))
MakeEngine = Callable[..., Engine]


def findings(folder: Path, fault: str, damage: str, damaged: str, *, tmpfs: bool = False) -> list[int]:
    environ = {**os.environ, "PYTHONPATH": str(Path(lmcache_admin.__file__).parents[1])}
    own = ["unshare", "--user", "--map-root-user", "--mount"] if tmpfs else []
    program = [sys.executable, str(PROGRAM), *(["--tmpfs"] if tmpfs else []), str(folder), fault, damage, damaged]
    answer = subprocess.run([*own, *program], env=environ, capture_output=True, text=True, check=True)
    found: list[int] = json.loads(answer.stdout)
    return found


@pytest.fixture(scope="module")
def tmpfs(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where no file system of our own can be mounted."""
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(tmp_path_factory.mktemp("mount"))]
    try:
        answer = subprocess.run(["unshare", "--user", "--map-root-user", "--mount", *mount], capture_output=True)
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if answer.returncode:
        pytest.skip("no mounts for an ordinary user here")


BAD = [("", 64), ("3", 48), ("1", 16), ("0,1,2,3", 0)]  # damaged chunks of four; tokens that are left before them


@pytest.mark.usefixtures("tmpfs")
@pytest.mark.parametrize(("damaged", "left"), BAD)
@pytest.mark.parametrize("fault", ["full, no names", "read-only"])
def test_s63_a_corrupt_chunk_that_cannot_be_replaced_is_not_acknowledged(
    tmp_path: Path, fault: str, damaged: str, left: int
) -> None:
    assert findings(tmp_path, fault, "flip", damaged, tmpfs=True) == [left, left, 64, 64]


@pytest.mark.usefixtures("tmpfs")
def test_s63_on_a_full_disk_the_space_of_a_corrupt_chunk_is_not_counted_on(tmp_path: Path) -> None:
    first, second, third, fourth = findings(tmp_path, "full", "flip", "0,1,2,3", tmpfs=True)
    assert first == second
    assert (third, fourth) == (64, 64)


@pytest.mark.parametrize(("damaged", "left"), BAD)
@pytest.mark.parametrize("fault", ["limited", "limited, nothing set aside"])
def test_a_corrupt_chunk_whose_write_fails_half_way_is_not_acknowledged(
    tmp_path: Path, fault: str, damaged: str, left: int
) -> None:
    assert findings(tmp_path, fault, "flip", damaged) == [left, left, 64, 64]


@pytest.mark.parametrize(("damaged", "left"), BAD)
def test_what_cannot_be_synced_is_not_acknowledged(tmp_path: Path, damaged: str, left: int) -> None:
    assert findings(tmp_path, "file sync", "flip", damaged) == [0, left, 64, 64]


@pytest.mark.parametrize(("damaged", "left"), BAD)
def test_what_has_no_lasting_name_is_not_acknowledged(tmp_path: Path, damaged: str, left: int) -> None:
    """Its file is whole, and found as long as the machine does not fail."""
    assert findings(tmp_path, "folder sync", "flip", damaged) == [0, 64, 64, 64]


@pytest.mark.parametrize(("damaged", "left"), BAD)
def test_a_corrupt_chunk_is_written_anew_where_nothing_hinders(tmp_path: Path, damaged: str, left: int) -> None:
    assert findings(tmp_path, "none", "flip", damaged) == [64, 64, 64, 64]


@pytest.mark.parametrize(("damaged", "left"), BAD)
def test_a_directory_in_a_chunks_place_is_not_a_chunk(tmp_path: Path, damaged: str, left: int) -> None:
    assert findings(tmp_path, "none", "directory", damaged) == [left] * 4


def test_a_lookup_does_not_take_a_directory_for_a_chunk(make_engine: MakeEngine, tmp_path: Path) -> None:
    engine = make_engine(local_cpu=False)
    engine.store(tokens=TOKENS[:16])
    (path,) = (tmp_path / "chunks").glob("*.chunk")
    path.unlink()
    path.mkdir()
    assert engine.lookup(TOKENS) == 0
    assert make_engine().storage_manager.stats()[DISK]["chunks"] == 0  # type: ignore[union-attr]


def flipped_in_place(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))


def replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(bytes(path.stat().st_size))
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.rename(path)


DAMAGES = [flipped_in_place, replaced, lambda path: os.truncate(path, 100), Path.unlink]


@pytest.mark.parametrize("damage", DAMAGES, ids=["flipped", "replaced", "shortened", "deleted"])
@pytest.mark.parametrize("memory", [False, True])
def test_a_chunk_damaged_after_it_was_vouched_for_is_written_anew_by_the_next_store(
    make_engine: MakeEngine, tmp_path: Path, damage: Callable[[Path], None], memory: bool
) -> None:
    engine = make_engine(local_cpu=memory)
    assert engine.store(tokens=TOKENS) == 64
    assert engine.store(tokens=TOKENS) == 64
    damage(next((tmp_path / "chunks").glob("*.chunk")))
    assert engine.store(tokens=TOKENS) == 64
    assert make_engine().retrieve(tokens=TOKENS).sum() == 64


@pytest.mark.parametrize("damage", DAMAGES, ids=["flipped", "replaced", "shortened", "deleted"])
def test_a_store_after_a_retrieve_that_met_a_damaged_chunk_writes_it_anew(
    make_engine: MakeEngine, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    engine = make_engine(local_cpu=False)
    engine.store(tokens=TOKENS)
    assert engine.retrieve(tokens=TOKENS).sum() == 64
    damage(next((tmp_path / "chunks").glob("*.chunk")))
    assert engine.retrieve(tokens=TOKENS).sum() < 64
    assert engine.store(tokens=TOKENS) == 64
    assert make_engine().retrieve(tokens=TOKENS).sum() == 64


def test_a_read_that_fails_withdraws_the_vouching_even_if_the_file_looks_untouched(tmp_path: Path) -> None:
    """A byte changed through a mapping that was written to before leaves no trace in the file's facts."""
    store = LocalDiskBackend([tmp_path], 10**6, layout=LAYOUT)
    store.put(KEYS[0], CHUNK)
    (path,) = tmp_path.glob("*.chunk")
    (tmp_path / "corrupt").write_text("in the way, so that nothing can be set aside")
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        for _ in range(20):  # when the page was written back just before, the system notes the next change of it
            mapping[-1] = mapping[-1]
            assert store.get(KEYS[0]) == CHUNK
            before = path.stat()
            mapping[-1] ^= 1
            if path.stat() == before:
                break
            mapping[-1] ^= 1
        else:
            pytest.skip("this file system notes each write through a mapping")
        assert store.get(KEYS[0]) is None
        assert path.stat() == before
        assert not store.confirm(KEYS[0])
    assert store.put(KEYS[0], CHUNK)
    assert store.confirm(KEYS[0])


def test_a_file_that_another_process_only_used_is_confirmed_without_a_write(tmp_path: Path) -> None:
    first, second = (LocalDiskBackend([tmp_path], 10**6, layout=LAYOUT) for _ in range(2))
    first.put(KEYS[0], CHUNK)
    assert second.get(KEYS[0]) == CHUNK
    assert first.confirm(KEYS[0])
    assert second.confirm(KEYS[0])
    assert (first.stats()["puts"], second.stats()["puts"]) == (1, 0)


def written(targets: dict[str, Backend], *, between: Callable[[], object] = lambda: None) -> list[bool]:
    writer = Writer(targets)
    writer.write([Piece(key, CHUNK.nbytes, lambda: CHUNK) for key in KEYS])
    between()
    writer.finish()
    return [writer.acknowledged(key) for key in KEYS]


def disk_with_a_gap(folder: Path) -> LocalDiskBackend:
    """All four chunks, but a directory in place of the second."""
    disk = LocalDiskBackend([folder], 10**6, layout=LAYOUT)
    disk.put(KEYS[1], CHUNK)
    (path,) = folder.glob("*.chunk")
    path.unlink()
    path.mkdir()
    for key in (KEYS[0], KEYS[2], KEYS[3]):
        disk.put(key, CHUNK)
    return disk


def test_chunks_behind_one_that_could_not_be_kept_do_not_count(tmp_path: Path) -> None:
    assert written({DISK: disk_with_a_gap(tmp_path)}) == [True, False, False, False]


def test_every_durable_backend_must_have_a_chunk(tmp_path: Path) -> None:
    whole = LocalDiskBackend([tmp_path / "whole"], 10**6, layout=LAYOUT)
    gap = disk_with_a_gap(tmp_path / "gap")
    assert written({"whole": whole, "gap": gap}) == [True, False, False, False]
    assert all(whole.contains(key) for key in KEYS)


def test_memory_does_not_count_beside_a_disk_and_does_without_one(tmp_path: Path) -> None:
    memory = LocalCPUBackend(10**6)
    assert written({MEMORY: memory, DISK: disk_with_a_gap(tmp_path)}) == [True, False, False, False]
    assert written({MEMORY: memory}) == [True] * 4
    assert written({MEMORY: LocalCPUBackend(0, enabled=False)}) == [False] * 4
    assert written({}) == [False] * 4


def test_a_chunk_that_is_dropped_before_the_store_returns_does_not_count(tmp_path: Path) -> None:
    disk = LocalDiskBackend([tmp_path], 10**6, layout=LAYOUT)
    assert written({DISK: disk}, between=lambda: disk.remove(KEYS[1])) == [True, False, True, True]


def test_of_a_chain_in_a_full_memory_that_evicts_the_newest_only_what_is_left_counts() -> None:
    memory = LocalCPUBackend(4 * CHUNK.nbytes, "MRU")
    for number in range(100, 104):
        memory.put(KEYS[0]._replace(chunk_hash=number), CHUNK)
    told = written({MEMORY: memory})
    assert told == [memory.contains(key) for key in KEYS]
    assert not all(told)


def test_the_figures_named_as_counters_only_rise_and_the_others_are_of_the_moment(tmp_path: Path) -> None:
    store = LocalDiskBackend([tmp_path], 10**6, layout=LAYOUT)
    assert set(store.stats()) - set(COUNTERS) == {"chunks", "bytes", "capacity"}
    acts: list[Callable[[], object]] = [
        lambda: store.put(KEYS[0], CHUNK), lambda: store.get(KEYS[0]), lambda: store.get(KEYS[1]), store.clear,
    ]
    before = store.stats()
    for act in acts:
        act()
        after = store.stats()
        assert all(after[name] >= before[name] for name in COUNTERS)
        before = after
    assert (before["puts"], before["hits"], before["misses"]) == (1, 1, 1)
