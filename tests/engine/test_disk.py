"""What the disk backend does beyond the shared contract: its files, faults, and several processes in one folder."""

from __future__ import annotations

import fcntl
import logging
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import lmcache_admin
from lmcache_admin.engine.aside import TEMPORARY
from lmcache_admin.engine.backends.disk import HEADER_ROOM, LocalDiskBackend
from lmcache_admin.engine.backends.files import HEAD
from lmcache_admin.engine.chunks import Chunk, ChunkKey, Layout
from lmcache_admin.engine.errors import StorageError

LAYOUT = Layout(2, 2, 8, "half")
SIZE = LAYOUT.nbytes(16)


def key(number: int) -> ChunkKey:
    return ChunkKey("m", 1, 0, number, "half")


def chunk(number: int) -> Chunk:
    return Chunk(LAYOUT, 16, number.to_bytes(2, "big") * (SIZE // 2))


def backend(*folders: Path, chunks: int = 100, layout: Layout | None = LAYOUT) -> LocalDiskBackend:
    return LocalDiskBackend(folders, chunks * (SIZE + HEADER_ROOM), layout=layout)


def only_file(folder: Path) -> Path:
    (path,) = folder.glob("*.chunk")
    return path


def damaged(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_files_and_folder_are_for_their_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        backend(tmp_path / "deep" / "folder").put(key(1), chunk(1))
    finally:
        os.umask(before)
    folder = tmp_path / "deep" / "folder"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(only_file(folder).stat().st_mode) == 0o600


def test_nothing_but_the_chunk_is_left_after_a_put(tmp_path: Path) -> None:
    backend(tmp_path).put(key(1), chunk(1))
    assert os.listdir(tmp_path) == [only_file(tmp_path).name]


def test_a_new_backend_finds_what_an_earlier_one_wrote(tmp_path: Path) -> None:
    backend(tmp_path).put(key(1), chunk(1))
    later = backend(tmp_path)
    assert later.contains(key(1))
    assert later.stats()["chunks"] == 1
    assert later.get(key(1)) == chunk(1)


def test_a_whole_file_of_an_earlier_process_need_not_be_written_again(tmp_path: Path) -> None:
    backend(tmp_path).put(key(1), chunk(1))
    later = backend(tmp_path)
    assert later.confirm(key(1))
    assert later.confirm(key(1))
    assert later.stats()["puts"] == 0


def test_two_backends_on_one_folder_find_each_others_chunks_at_once(tmp_path: Path) -> None:
    first, second = backend(tmp_path), backend(tmp_path)
    first.put(key(1), chunk(1))
    assert second.get(key(1)) == chunk(1)
    second.remove(key(1))
    assert not first.contains(key(1))
    assert first.get(key(1)) is None


def test_another_process_finds_a_chunk_and_its_own_is_found(tmp_path: Path) -> None:
    ours = backend(tmp_path)
    ours.put(key(1), chunk(1))
    code = (
        "import sys\n"
        "from lmcache_admin.engine.backends.disk import LocalDiskBackend\n"
        "from lmcache_admin.engine.chunks import Chunk, ChunkKey, Layout\n"
        "backend = LocalDiskBackend([sys.argv[1]], 10**6, layout=Layout(2, 2, 8, 'half'))\n"
        "found = backend.get(ChunkKey('m', 1, 0, 1, 'half'))\n"
        "assert backend.put(ChunkKey('m', 1, 0, 2, 'half'), found)\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(lmcache_admin.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environ, check=True)
    assert ours.get(key(2)) == chunk(1)


@pytest.mark.parametrize("at", [0, 8, 12, 16, 24, 28, HEAD.size + 3, HEAD.size + 90, -1])
def test_one_flipped_bit_anywhere_is_a_miss_set_aside_and_reported(
    tmp_path: Path, at: int, caplog: pytest.LogCaptureFixture
) -> None:
    store = backend(tmp_path)
    store.put(key(1), chunk(1))
    path = only_file(tmp_path)
    content = path.read_bytes()
    path.write_bytes(damaged(content, at % len(content)))
    assert store.get(key(1)) is None
    assert not store.contains(key(1))
    assert store.stats()["corrupt"] == 1
    assert len(list((tmp_path / "corrupt").iterdir())) == 1
    assert [record for record in caplog.records if path.name in record.getMessage()]


@pytest.mark.parametrize("length", [0, 10, HEAD.size, HEAD.size + 20, -1])
def test_a_shortened_file_is_a_miss_and_set_aside(tmp_path: Path, length: int) -> None:
    store = backend(tmp_path)
    store.put(key(1), chunk(1))
    path = only_file(tmp_path)
    path.write_bytes(path.read_bytes()[:length])
    assert store.get(key(1)) is None
    assert store.stats()["corrupt"] == 1
    assert not path.exists()


def test_a_lengthened_file_is_a_miss_and_set_aside(tmp_path: Path) -> None:
    store = backend(tmp_path)
    store.put(key(1), chunk(1))
    path = only_file(tmp_path)
    path.write_bytes(path.read_bytes() + b"x")
    assert store.get(key(1)) is None
    assert store.stats()["corrupt"] == 1


def test_a_chunk_can_be_stored_again_after_its_file_was_corrupt(tmp_path: Path) -> None:
    backend(tmp_path).put(key(1), chunk(1))
    path = only_file(tmp_path)
    path.write_bytes(damaged(path.read_bytes(), -1 % SIZE))
    later = backend(tmp_path)
    assert not later.confirm(key(1))
    assert later.put(key(1), chunk(1))
    assert later.get(key(1)) == chunk(1)


def test_at_most_32_corrupt_files_are_kept(tmp_path: Path) -> None:
    store = backend(tmp_path)
    for number in range(40):
        store.put(key(number), chunk(number))
        only_file(tmp_path).write_bytes(b"junk")
        assert store.get(key(number)) is None
    assert store.stats()["corrupt"] == 40
    assert len(list((tmp_path / "corrupt").iterdir())) == 32


def test_a_file_of_a_later_format_is_refused_by_its_number_and_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = backend(tmp_path)
    store.put(key(1), chunk(1))
    path = only_file(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[:8] + (7).to_bytes(2, "little") + content[10:])
    with caplog.at_level(logging.WARNING):
        assert store.get(key(1)) is None
    assert "format 7" in caplog.text
    assert path.exists()
    assert (store.stats()["newer_format"], store.stats()["corrupt"]) == (1, 0)


def test_the_file_of_another_key_under_this_name_is_not_served(tmp_path: Path) -> None:
    store = backend(tmp_path)
    store.put(key(1), chunk(1))
    wrong = only_file(tmp_path)
    store.put(key(2), chunk(2))
    (right,) = set(tmp_path.glob("*.chunk")) - {wrong}
    right.write_bytes(wrong.read_bytes())
    assert store.get(key(2)) is None


def test_a_chunk_of_another_layout_is_not_found(tmp_path: Path) -> None:
    backend(tmp_path).put(key(1), chunk(1))
    other = backend(tmp_path, layout=Layout(2, 4, 4, "half"))
    assert not other.contains(key(1))
    assert not other.put(key(1), chunk(1))


def test_a_chunk_is_found_again_after_a_folder_was_added(tmp_path: Path) -> None:
    store = backend(tmp_path / "a", tmp_path / "b")
    for number in range(8):
        store.put(key(number), chunk(number))
    assert list((tmp_path / "a").iterdir())
    assert list((tmp_path / "b").iterdir())
    wider = backend(tmp_path / "c", tmp_path / "a", tmp_path / "b")
    assert all(wider.get(key(number)) == chunk(number) for number in range(8))
    assert len(wider.clear()) == 8


def test_a_temporary_file_of_a_dead_process_is_removed_and_a_living_ones_is_not(tmp_path: Path) -> None:
    dead, living = tmp_path / f"{TEMPORARY}1-0-dead", tmp_path / f"{TEMPORARY}1-0-living"
    dead.write_bytes(b"half")
    with living.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        backend(tmp_path)
        assert not dead.exists()
        assert living.exists()


def test_the_chunk_that_was_used_longest_ago_is_evicted(tmp_path: Path) -> None:
    store = backend(tmp_path, chunks=3)
    for number in range(3):
        store.put(key(number), chunk(number))
    store.get(key(0))
    store.put(key(3), chunk(3))
    assert [number for number in range(4) if not store.contains(key(number))] == [1]


def test_the_order_of_use_outlives_the_process(tmp_path: Path) -> None:
    store = backend(tmp_path, chunks=3)
    for number in range(3):
        store.put(key(number), chunk(number))
    store.get(key(0))
    later = backend(tmp_path, chunks=3)
    later.put(key(3), chunk(3))
    assert not later.contains(key(1))


def test_a_chunk_that_another_process_used_is_not_the_oldest(tmp_path: Path) -> None:
    first, second = backend(tmp_path, chunks=3), backend(tmp_path, chunks=3)
    for number in range(3):
        first.put(key(number), chunk(number))
    second.get(key(0))
    first.put(key(3), chunk(3))
    assert first.contains(key(0))
    assert not first.contains(key(1))


def test_the_budget_counts_what_other_processes_wrote(tmp_path: Path) -> None:
    first, second = backend(tmp_path, chunks=4), backend(tmp_path, chunks=4)
    for number in range(4):
        first.put(key(number), chunk(number))
    for number in range(4, 8):
        second.put(key(number), chunk(number))
    assert sum(path.stat().st_size for path in tmp_path.glob("*.chunk")) <= 4 * (SIZE + HEADER_ROOM)


def test_a_put_does_not_hang_on_a_file_that_cannot_be_deleted(tmp_path: Path) -> None:
    store = backend(tmp_path, chunks=1)
    store.put(key(1), chunk(1))
    stubborn = only_file(tmp_path)
    stubborn.unlink()
    stubborn.mkdir()
    assert store.put(key(2), chunk(2))
    assert store.get(key(2)) == chunk(2)


def test_a_folder_that_cannot_be_made_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"local_disk: cannot make folder '.*file/folder': Not a directory"):
        backend(tmp_path / "file" / "folder")


def test_a_put_into_a_folder_that_is_gone_fails_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = backend(tmp_path / "folder")
    (tmp_path / "folder").rmdir()
    assert not store.put(key(1), chunk(1))
    assert not store.put(key(2), chunk(2))
    assert store.stats()["put_failures"] == 2
    assert store.get(key(1)) is None
    assert len(caplog.records) == 1
    (tmp_path / "folder").mkdir()
    assert store.put(key(1), chunk(1))


def test_a_write_that_fails_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    """A limit on the size of files fails like a full disk: part of the chunk is written, then an error."""
    code = (
        "import resource, sys\n"
        "from lmcache_admin.engine.backends.disk import LocalDiskBackend\n"
        "from lmcache_admin.engine.chunks import Chunk, ChunkKey, Layout\n"
        "layout = Layout(2, 2, 8, 'half')\n"
        "backend = LocalDiskBackend([sys.argv[1]], 10**6, layout=layout)\n"
        "chunk = Chunk(layout, 16, bytes(layout.nbytes(16)))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))\n"
        "print(backend.put(ChunkKey('m', 1, 0, 1, 'half'), chunk), backend.stats()['put_failures'])\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(lmcache_admin.__file__).parents[1])}
    answer = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=environ, capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == ["False", "1"]
    assert list(tmp_path.iterdir()) == []
