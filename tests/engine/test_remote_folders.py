"""Chunks in folders that other programs use too: what is written, what is believed, what is set aside."""

from __future__ import annotations

import logging
import os
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest

from lmcache_admin.engine import Configuration
from lmcache_admin.engine.backends.remote import RemoteBackend, open_remote
from lmcache_admin.engine.chunks import PROBE_MODEL, Chunk, ChunkKey, Layout

LAYOUT = Layout(2, 2, 64, "half")
KEY = ChunkKey("org/model", 1, 0, -0x1F, "half")
NAME = "org-SEP-model@1@0@-1f@half.data"
HIDDEN = ".lmcache-admin"


def chunk(tokens: int = 16, fill: int = 1) -> Chunk:
    return Chunk(LAYOUT, tokens, bytes([fill]) * LAYOUT.nbytes(tokens))


def written_by_another(path: Path, payload: bytes, tokens: int = 16, header: bytes | None = None) -> None:
    """A file as LMCache 0.5.6 writes it: header and payload under a temporary name, renamed, nothing beside."""
    made = struct.pack("<7i", len(payload), 1, 2, 2, 2, tokens, 64) if header is None else header
    aside = path.with_suffix(".tmp")
    aside.write_bytes(made + payload)
    aside.replace(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "shared"
    path.mkdir(mode=0o755)
    return path


def backend(*folders: Path, scheme: str = "fs://host:1", **extra: Any) -> RemoteBackend:
    url = f"{scheme}{','.join(map(str, folders))}"
    shape = {"embedded_engine_model_name": "org/model"}
    values = {"chunk_size": 16, "remote_url": url, "extra_config": {**shape, **extra}}
    return open_remote(Configuration.from_mapping(values, {}), LAYOUT)


def test_a_file_is_header_and_payload_under_the_keys_name(folder: Path) -> None:
    assert backend(folder).put(KEY, chunk())
    header = struct.pack("<7i", 8192, 1, 2, 2, 2, 16, 64)
    assert (folder / NAME).read_bytes() == header + chunk().payload
    assert sorted(path.name for path in folder.iterdir()) == [HIDDEN, NAME]


def test_without_headers_a_file_is_the_payload_alone(folder: Path) -> None:
    one = backend(folder, save_chunk_meta=False)
    assert one.put(KEY, chunk())
    assert (folder / NAME).read_bytes() == chunk().payload
    assert one.put(KEY._replace(chunk_hash=2), chunk(5))
    short = backend(folder, save_chunk_meta=False).get(KEY._replace(chunk_hash=2))
    assert short is not None
    assert short.tokens == 5


def test_a_file_url_names_the_same_files(folder: Path) -> None:
    assert backend(folder).put(KEY, chunk())
    assert backend(folder, scheme="file://").get(KEY) is not None


def test_the_hash_says_in_which_of_several_folders_a_chunk_lies(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "abc"]
    one = backend(*folders)
    for number in (-4, -1, 0, 1, 2, 5):
        assert one.put(KEY._replace(chunk_hash=number), chunk())
    held = [sorted(int(path.name.split("@")[3], 16) for path in place.glob("*.data")) for place in folders]
    assert held == [[0], [-4, -1, 1], [2, 5]]
    assert len(list(one.keys())) == 6


def test_a_chunk_without_a_checksum_is_accepted(folder: Path) -> None:
    written_by_another(folder / NAME, b"\7" * 8192)
    one = backend(folder)
    found = one.get(KEY)
    assert found is not None
    assert (bytes(found.payload), one.stats()["corrupt"]) == (b"\7" * 8192, 0)


def test_one_changed_byte_is_a_miss_and_the_file_is_set_aside(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    backend(folder).put(KEY, chunk())
    with (folder / NAME).open("r+b") as file:
        file.seek(4000)
        file.write(b"\xff")
    damaged = (folder / NAME).read_bytes()
    one = backend(folder)
    with caplog.at_level(logging.WARNING):
        assert [one.get(KEY) for _ in range(3)] == [None] * 3
    assert (one.stats()["corrupt"], one.stats()["misses"]) == (1, 3)
    assert not (folder / NAME).exists()
    assert [path.read_bytes() for path in (folder / HIDDEN / "corrupt").iterdir()] == [damaged]
    assert len([line for line in caplog.messages if "is corrupt" in line]) == 1
    assert one.put(KEY, chunk())
    assert one.get(KEY) is not None


@pytest.mark.parametrize("place", range(28))
def test_a_changed_header_of_our_own_is_corrupt(folder: Path, place: int) -> None:
    backend(folder).put(KEY, chunk())
    with (folder / NAME).open("r+b") as file:
        file.seek(place)
        before = file.read(1)
        file.seek(place)
        file.write(bytes([before[0] ^ 0x55]))
    one = backend(folder)
    assert one.get(KEY) is None
    assert one.stats()["corrupt"] == 1


@pytest.mark.parametrize("length", [0, 27, 28, 29, 8219])
def test_a_file_that_lost_its_end_is_corrupt_whoever_wrote_it(folder: Path, length: int) -> None:
    written_by_another(folder / NAME, b"\7" * 8192)
    os.truncate(folder / NAME, length)
    one = backend(folder)
    assert one.get(KEY) is None
    assert (one.stats()["corrupt"], (folder / NAME).exists()) == (1, False)


def test_a_file_that_another_program_wrote_anew_is_not_judged_by_the_old_checksum(folder: Path) -> None:
    one = backend(folder)
    one.put(KEY, chunk())
    written_by_another(folder / NAME, b"\7" * 8192)
    found = one.get(KEY)
    assert found is not None
    assert bytes(found.payload) == b"\7" * 8192


def test_a_copy_of_the_folder_with_its_times_is_still_checked(folder: Path, tmp_path: Path) -> None:
    backend(folder).put(KEY, chunk())
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)  # keeps times, changes inodes
    facts = (copy / NAME).stat()
    (copy / NAME).write_bytes((copy / NAME).read_bytes()[:-1] + b"\xff")
    os.utime(copy / NAME, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    one = backend(copy)
    assert one.get(KEY) is None
    assert one.stats()["corrupt"] == 1


@pytest.mark.parametrize(
    "header",
    [
        struct.pack("<7i", 8192, 1, 3, 2, 2, 16, 64),  # bfloat16
        struct.pack("<7i", 8192, 1, 2, 2, 4, 16, 32),  # four layers
        struct.pack("<7i", 8192, 6, 2, 1, 2, 16, 128),  # MLA
        struct.pack("<7i", 8192, 4, 2, 8192, 0, 0, 0),  # another serde
        struct.pack("<12i", 8192, 1, 2, 2, 1, 16, 64, 2, 2, 1, 16, 64),  # two layer groups
        b"",  # a payload without a header
    ],
)
def test_a_file_of_another_form_is_a_miss_and_stays_where_it_is(folder: Path, header: bytes) -> None:
    written_by_another(folder / NAME, b"\7" * 8192, header=header)
    one = backend(folder)
    assert one.get(KEY) is None
    assert not one.confirm(KEY)
    assert (one.stats()["corrupt"], (folder / NAME).exists()) == (0, True)


def test_files_with_headers_are_left_alone_by_a_reader_that_expects_none(folder: Path) -> None:
    written_by_another(folder / NAME, b"\7" * 8192)
    one = backend(folder, save_chunk_meta=False)
    assert one.get(KEY) is None
    assert (folder / NAME).exists()


def test_a_checksum_of_a_later_version_is_refused_by_name(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    backend(folder).put(KEY, chunk())
    (record,) = (folder / HIDDEN / "checksums").iterdir()
    record.write_text("2 sha512 0000 something\n")
    one = backend(folder)
    with caplog.at_level(logging.WARNING):
        assert one.get(KEY) is None
    assert one.stats()["newer_format"] == 1
    assert "checksum of format 2; this version reads up to 1" in caplog.text


@pytest.mark.parametrize("text", [b"", b"1 00", b"1 12345678 8220 1:1", b"\xff\xfe\n", b"1 zz zz zz\n"])
def test_what_a_crash_left_of_a_checksum_counts_as_none(folder: Path, text: bytes) -> None:
    backend(folder).put(KEY, chunk())
    (record,) = (folder / HIDDEN / "checksums").iterdir()
    record.write_bytes(text)
    assert backend(folder).get(KEY) is not None


def test_confirm_reads_what_it_has_not_seen_and_notices_what_changed(folder: Path) -> None:
    one, other = backend(folder), backend(folder)
    assert not one.confirm(KEY)
    other.put(KEY, chunk())
    assert one.confirm(KEY)
    assert one.confirm(KEY)
    with (folder / NAME).open("r+b") as file:
        file.write(b"\xff")
    assert not one.confirm(KEY)
    assert (one.stats()["corrupt"], (folder / NAME).exists()) == (1, False)


def test_remove_takes_file_and_checksum(folder: Path) -> None:
    one = backend(folder)
    one.put(KEY, chunk())
    assert one.remove(KEY)
    assert not one.remove(KEY)
    assert [path for path in folder.rglob("*") if path.is_file()] == []


def test_clear_takes_the_chunks_of_this_deployment_and_nothing_else(folder: Path) -> None:
    one = backend(folder)
    for number in range(5):
        one.put(KEY._replace(chunk_hash=number, worker_id=number % 2), chunk(16 if number else 3))
    others = [KEY._replace(model_name="org/model2"), KEY._replace(world_size=2), KEY._replace(dtype="float")]
    for key in others:
        written_by_another(folder / (key.text.replace("/", "-SEP-") + ".data"), b"x")
    (folder / "notes.txt").write_text("mine")
    (folder / "no-key.data").write_text("whose?")
    reported: list[int] = []
    assert sorted(one.clear(reported.append).values()) == [3, 16, 16, 16, 16]
    assert sum(reported) == 5
    assert {path.name for path in folder.iterdir() if path.is_file()} == {
        "notes.txt", "no-key.data", *(key.text.replace("/", "-SEP-") + ".data" for key in others),
    }


def test_a_clear_can_be_stopped_between_two_batches(folder: Path) -> None:
    one = backend(folder)
    for number in range(600):
        written_by_another(folder / f"org-SEP-model@1@0@{number:x}@half.data", b"")

    def stop(count: int) -> None:
        raise InterruptedError(count)

    with pytest.raises(InterruptedError):
        one.clear(stop)
    assert 0 < len(list(one.keys())) < 600
    one.clear()
    assert list(one.keys()) == []


def test_a_probe_is_nowhere_where_others_look(folder: Path) -> None:
    one = backend(folder)
    probe = ChunkKey(PROBE_MODEL, 1, 0, 1, "half")
    assert one.put(probe, chunk(1))
    assert one.get(probe) is not None
    assert (list(folder.glob("*.data")), list(one.keys())) == ([], [])
    assert one.remove(probe)
    assert not one.contains(probe)
    assert [path for path in folder.rglob("*") if path.is_file()] == []
    assert not any(one.stats().values())


def test_files_may_be_used_by_whoever_may_use_the_folder(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        backend(tmp_path / "made").put(KEY, chunk())
        (tmp_path / "given").mkdir(mode=0o755)
        backend(tmp_path / "given").put(KEY, chunk())
    finally:
        os.umask(before)
    modes = {name: [path.stat().st_mode & 0o777 for path in (tmp_path / name).rglob("*")] for name in ("made", "given")}
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o700
    assert set(modes["made"]) == {0o700, 0o600}
    assert set(modes["given"]) == {0o755, 0o644}
