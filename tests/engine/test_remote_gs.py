"""Chunks in a bucket of Google Cloud Storage: an emulator's, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lmcache_admin.engine import Configuration, StorageError
from lmcache_admin.engine.backends.remote import RemoteBackend, open_remote
from lmcache_admin.engine.chunks import PROBE_MODEL, Chunk, ChunkKey, Layout

LAYOUT = Layout(2, 2, 64, "half")
KEY = ChunkKey("org/model", 1, 0, -0x1F, "half", (("tenant", "a%b c"),))
PROGRAM = """
import sys
from gcp_storage_emulator.server import create_server
server = create_server("127.0.0.1", int(sys.argv[1]), in_memory=True, default_bucket="chunks")
server.start()
print("up", flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.fixture
def stop(free_port: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Start an emulator with an empty bucket `chunks`; gives what stops it."""
    pytest.importorskip("gcp_storage_emulator")
    port = free_port()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    process: Any = subprocess.Popen([sys.executable, "-c", PROGRAM, str(port)], **pipes)
    assert process.stdout.readline()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")  # where gcsfs then goes, as nobody

    def stop() -> None:
        process.stdin.close()
        process.wait(60)

    yield stop
    stop()
    process.stdout.close()


def chunk(tokens: int = 16) -> Chunk:
    return Chunk(LAYOUT, tokens, b"\1" * LAYOUT.nbytes(tokens))


def backend(url: str = "gs://chunks/below", **keys: Any) -> RemoteBackend:
    extra = {"embedded_engine_model_name": "org/model"}
    values = {"chunk_size": 16, "remote_url": url, "extra_config": extra, **keys}
    return open_remote(Configuration.from_mapping(values, {}), LAYOUT)


@pytest.mark.usefixtures("stop")
def test_chunks_are_kept_found_and_removed() -> None:
    one, other = backend(), backend()
    assert not other.contains(KEY)
    assert one.put(KEY, chunk())
    assert other.confirm(KEY)
    found = other.get(KEY)
    assert found is not None
    assert bytes(found.payload) == chunk().payload
    assert not one.put(KEY._replace(chunk_hash=1), chunk(5))
    assert list(other.keys()) == [KEY.text.replace("/", "_")]
    assert other.remove(KEY)
    assert (one.get(KEY), one.remove(KEY), one.confirm(KEY)) == (None, False, False)


@pytest.mark.usefixtures("stop")
def test_clear_takes_the_chunks_of_this_deployment_below_its_prefix_and_nothing_else() -> None:
    below, above = backend(), backend("gs://chunks")
    for number in range(20):
        assert below.put(KEY._replace(chunk_hash=number), chunk())
    others = [KEY, KEY._replace(world_size=2), KEY._replace(model_name="org/other")]
    assert above.put(others[0], chunk())
    assert all(below.put(key, chunk()) for key in others[1:])
    assert list(below.clear().values()) == [16] * 20
    assert len(list(below.keys())) == 2
    assert above.contains(KEY)


@pytest.mark.usefixtures("stop")
def test_a_probe_leaves_nothing() -> None:
    one = backend()
    probe = ChunkKey(PROBE_MODEL, 1, 0, 1, "half")
    assert one.put(probe, chunk(1))
    assert one.get(probe) is not None
    assert list(one.keys()) == []
    assert one.remove(probe)
    assert not one.contains(probe)


@pytest.mark.usefixtures("stop")
def test_a_bucket_that_is_not_there_is_told(caplog: pytest.LogCaptureFixture) -> None:
    one = backend("gs://nowhere")
    assert (one.put(KEY, chunk()), one.get(KEY)) == (False, None)
    assert "gs://nowhere takes no chunk: there is no bucket 'nowhere'" in caplog.messages
    with pytest.raises(StorageError, match="cannot be cleared: there is no bucket 'nowhere'"):
        one.clear()


def test_a_server_that_is_gone_is_missed(stop: Callable[[], None], caplog: pytest.LogCaptureFixture) -> None:
    one = backend(blocking_timeout_secs=1)
    assert one.put(KEY, chunk())
    stop()
    assert [one.get(KEY) for _ in range(1000)] == [None] * 1000
    assert len([line for line in caplog.messages if "does not answer" in line]) == 1


def test_a_missing_package_is_one_line_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs.core", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "lmcache_admin.engine.remote.gs", raising=False)
    with pytest.raises(StorageError, match=r"gs:// needs a package .*: pip install 'lmcache-admin\[gcs\]'"):
        backend()
