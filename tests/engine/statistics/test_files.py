"""The hash files: what stands in them, how many and how large they get, and what a bad disk does."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmcache_admin.engine.chunks import chunk_hashes
from lmcache_admin.engine.statistics import ChunkStatisticsLookupClient, hash_files
from lmcache_admin.engine.statistics.hash_files import HashFiles

A = list(range(48))


@pytest.fixture(name="folder")
def folder_fixture(tmp_path: Path) -> Path:
    return tmp_path / "made" / "hashes"


@pytest.fixture(name="client")
def client_fixture(
    counting: Callable[..., ChunkStatisticsLookupClient], folder: Path
) -> ChunkStatisticsLookupClient:
    """One that writes hash files."""
    return counting({"file_output_dir": str(folder)}, chunk_statistics_strategy="file_hash")


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("chunk_hashes_*.jsonl"))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_file_begins_with_its_format_and_has_a_line_for_each_lookup(
    client: ChunkStatisticsLookupClient, folder: Path
) -> None:
    assert not folder.exists()
    client.start_statistics()
    client.lookup(A, "one")
    client.lookup(A[:16], "two\n" + "x" * 1000)
    client.stop_statistics()
    (path,) = files(folder)
    first, one, two = lines(path)
    assert first == {"format": 1, "chunk_size": 16, "hash": "builtin"}
    assert list(one) == ["timestamp", "lookup_id", "chunk_hashes"]
    assert one["chunk_hashes"] == [f"{hex(chained % 2**64)}" for _, _, chained in chunk_hashes(A, 16)]
    assert (one["lookup_id"], two["lookup_id"]) == ("one", "two\n" + "x" * 196)
    assert two["chunk_hashes"] == one["chunk_hashes"][:1]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_figures_name_the_files(client: ChunkStatisticsLookupClient, folder: Path) -> None:
    client.start_statistics()
    client.lookup(A, "one")
    figures = client.get_statistics()
    assert list(figures) == [
        "enabled", "total_requests", "timing", "total_chunks", "unique_chunks", "duplicate_chunks", "reuse_rate",
        "file_hash", "async_queue",
    ]  # fmt: skip
    (path,) = files(folder)
    assert figures["file_hash"] == {
        "file_count": 1, "current_file_size": path.stat().st_size, "file_max_count": 100, "output_dir": str(folder)
    }  # fmt: skip


def test_a_reset_ends_the_file_and_keeps_it(client: ChunkStatisticsLookupClient, folder: Path) -> None:
    client.start_statistics()
    for number in range(2):
        client.lookup(A, f"{number}")
        client.get_statistics()
        client.reset_statistics()
    assert client.get_statistics()["file_hash"]["current_file_size"] == 0
    assert [len(lines(path)) for path in files(folder)] == [2, 2]


def test_files_are_bounded_in_size_and_number_over_several_processes(folder: Path) -> None:
    for _ in range(3):  # each as a later process on the same folder
        kept = HashFiles(str(folder), 4096, 5, {})
        kept.open()
        for number in range(200):
            kept.append({"number": number, "filler": "x" * 300})
        kept.close()
        sizes = [path.stat().st_size for path in files(folder)]
        assert len(sizes) == kept.count == 5
        assert max(sizes) <= 4096
    assert lines(files(folder)[-1])[-1]["number"] == 199


def test_files_of_others_are_left_alone(folder: Path) -> None:
    folder.mkdir(parents=True)
    others = {"chunk_hashes_1795553487_000000.jsonl", "notes.txt", "chunk_hashes_1795553487123_1_000000.jsonl.gz"}
    for name in others:
        (folder / name).write_text("")
    kept = HashFiles(str(folder), 4096, 1, {})
    kept.open()
    for number in range(100):
        kept.append({"number": number, "filler": "x" * 300})
    kept.close()
    assert others < {path.name for path in folder.iterdir()}
    assert len(list(folder.iterdir())) == 4


def test_a_line_longer_than_a_file_is_written_whole(folder: Path) -> None:
    kept = HashFiles(str(folder), 4096, 5, {})
    kept.open()
    kept.append({"filler": "x" * 10_000})
    kept.append({"number": 1})
    kept.close()
    assert [len(lines(path)) for path in files(folder)] == [2, 2]


def test_a_folder_that_cannot_be_made_refuses_the_start_and_lookups_go_on(
    client: ChunkStatisticsLookupClient, folder: Path
) -> None:
    folder.parent.write_text("")
    with pytest.raises(OSError, match="made"):
        client.start_statistics()
    assert client.lookup(A, "one") == 0
    assert client.get_statistics()["enabled"] is False


def test_a_client_that_is_to_begin_at_once_is_made_even_so(
    counting: Callable[..., ChunkStatisticsLookupClient], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.parent.write_text("")
    client = counting(
        {"file_output_dir": str(folder)},
        chunk_statistics_strategy="file_hash",
        chunk_statistics_auto_start_statistics=True,
    )
    assert client.get_statistics()["enabled"] is False
    assert "Chunk statistics do not start" in caplog.text


def test_a_folder_that_has_gone_is_said_once_and_the_figures_go_on(
    client: ChunkStatisticsLookupClient, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client.start_statistics()
    shutil.rmtree(folder)
    for number in range(5):
        client.lookup(A, f"{number}")
    client.stop_statistics()
    figures = client.get_statistics()
    assert (figures["total_chunks"], figures["unique_chunks"]) == (15, 3)
    assert len([record for record in caplog.records if "cannot be written" in record.getMessage()]) == 1


def test_a_full_disk_leaves_whole_lines_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The disk is not ours to fill: the system call is told to write a part and then to fail."""
    kept = HashFiles(str(folder), 4096, 5, {})
    kept.open()
    kept.append({"number": 1})
    real, calls = os.write, iter([True, False])

    def full(file: int, data: bytes) -> int:
        if next(calls):
            return real(file, data[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(hash_files, "PAUSE", 0.0)
    with monkeypatch.context() as patched:
        patched.setattr(hash_files.os, "write", full)
        kept.append({"number": 2})
    kept.append({"number": 3})
    kept.close()
    (path,) = files(folder)
    assert [line.get("number") for line in lines(path)] == [None, 1, 3]
    assert "No space left on device" in caplog.text
