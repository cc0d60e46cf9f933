"""What may stand in a store's folder under a chunk's name and is no file: nobody waits for it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmcache_admin.engine import Configuration
from lmcache_admin.engine.backends.remote import RemoteBackend, open_remote
from lmcache_admin.engine.chunks import Chunk, ChunkKey, Layout

LAYOUT = Layout(2, 2, 64, "half")
KEY = ChunkKey("org/model", 1, 0, -0x1F, "half")
NAME = "org-SEP-model@1@0@-1f@half.data"
HIDDEN = ".lmcache-admin"


def chunk(tokens: int = 16, fill: int = 1) -> Chunk:
    return Chunk(LAYOUT, tokens, bytes([fill]) * LAYOUT.nbytes(tokens))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "shared"
    path.mkdir()
    return path


def backend(folder: Path) -> RemoteBackend:
    extra = {"embedded_engine_model_name": "org/model"}
    values = {"chunk_size": 16, "remote_url": f"fs://host:1{folder}", "extra_config": extra}
    return open_remote(Configuration.from_mapping(values, {}), LAYOUT)


@pytest.fixture(params=["pipe", "socket", "device", "folder"])
def no_file(request: pytest.FixtureRequest, folder: Path) -> Iterator[Path]:
    """What is no file under a chunk's name."""
    path = folder / NAME
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "socket":
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
    elif request.param == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    yield path
    if path.is_socket():
        path.unlink()


def test_what_is_no_regular_file_is_a_miss_at_once_and_stays(no_file: Path, folder: Path) -> None:
    one = backend(folder)
    other = KEY._replace(chunk_hash=5)
    assert one.put(other, chunk())
    assert (one.get(KEY), one.contains(KEY), one.confirm(KEY)) == (None, False, False)
    assert one.get(other) is not None  # the store does not count as unreachable
    assert sum(one.clear().values()) == 16
    assert no_file.exists()


@pytest.mark.parametrize("no_file", ["pipe"], indirect=True)
def test_a_chunk_takes_the_place_of_a_pipe(no_file: Path, folder: Path) -> None:
    one = backend(folder)
    assert one.put(KEY, chunk())
    assert one.get(KEY) is not None
    assert no_file.is_file()


def test_a_pipe_in_place_of_a_checksum_counts_as_none(folder: Path) -> None:
    backend(folder).put(KEY, chunk())
    (checksum,) = (folder / HIDDEN / "checksums").iterdir()
    checksum.unlink()
    os.mkfifo(checksum)
    assert backend(folder).get(KEY) is not None
