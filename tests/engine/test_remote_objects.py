"""Chunks in a bucket of a real S3 server that other programs use too."""

from __future__ import annotations

import itertools
import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest

from lmcache_admin.engine import Configuration, Manager, StorageError
from lmcache_admin.engine.backends.remote import RemoteBackend, open_remote
from lmcache_admin.engine.chunks import PROBE_MODEL, Chunk, ChunkKey, Layout

LAYOUT = Layout(2, 2, 64, "half")
KEY = ChunkKey("org/model", 1, 0, -0x1F, "half", (("tenant", "a%b c"),))
NAME = "org_model@1@0@-1f@half@tenant%a%b c"  # as S3 sees it once LMCache's quoting is undone
_numbers = itertools.count()


def chunk(tokens: int = 16, fill: int = 1) -> Chunk:
    return Chunk(LAYOUT, tokens, bytes([fill]) * LAYOUT.nbytes(tokens))


@pytest.fixture
def s3(s3_server: Any) -> Any:
    return s3_server.client()


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"chunks-{next(_numbers)}"
    s3.create_bucket(Bucket=name)
    return name


def opened(server: Any, bucket: str, path: str = "", **keys: Any) -> Configuration:
    """A configuration that names a bucket as LMCache's URL names it, bucket and host in one."""
    login = {"aws_access_key_id": server.access_key, "aws_secret_access_key": server.secret_key}
    extra = {**login, "embedded_engine_model_name": "org/model", "disable_tls": True, "s3_region": "us-east-1"}
    url = f"s3://{bucket}.{server.host}{path}"
    return Configuration.from_mapping({"chunk_size": 16, "remote_url": url, "extra_config": extra, **keys}, {})


@pytest.fixture
def backend(s3_server: Any, bucket: str) -> Callable[..., RemoteBackend]:
    """Open the test's bucket, or the part of it below a path."""
    return lambda path="": open_remote(opened(s3_server, bucket, path), LAYOUT)


def names(s3: Any, bucket: str) -> list[str]:
    return [found["Key"] for found in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]


def test_an_object_is_the_payload_alone_under_the_name_that_lmcache_gives_it(
    backend: Callable[..., RemoteBackend], s3: Any, bucket: str
) -> None:
    assert backend().put(KEY, chunk())
    assert names(s3, bucket) == [NAME]
    assert s3.get_object(Bucket=bucket, Key=NAME)["Body"].read() == chunk().payload


def test_what_another_program_wrote_is_found_and_read(
    backend: Callable[..., RemoteBackend], s3: Any, bucket: str
) -> None:
    s3.put_object(Bucket=bucket, Key=NAME, Body=b"\7" * 8192)
    one = backend()
    assert one.contains(KEY)
    assert one.confirm(KEY)
    found = one.get(KEY)
    assert found is not None
    assert (bytes(found.payload), found.tokens) == (b"\7" * 8192, 16)


def test_a_shorter_chunk_is_not_taken_and_not_read(
    backend: Callable[..., RemoteBackend], s3: Any, bucket: str
) -> None:
    one = backend()
    assert not one.put(KEY, chunk(5))
    s3.put_object(Bucket=bucket, Key=NAME, Body=chunk(5).payload)
    assert one.get(KEY) is None
    assert names(s3, bucket) == [NAME]
    assert one.stats()["corrupt"] == 0


def test_an_object_that_contradicts_its_checksum_is_a_miss_and_goes(
    backend: Callable[..., RemoteBackend], s3: Any, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    one = backend()
    one.put(KEY, chunk())
    metadata = s3.head_object(Bucket=bucket, Key=NAME)["Metadata"]
    s3.put_object(Bucket=bucket, Key=NAME, Body=chunk().payload[:-1] + b"\xff", Metadata=metadata)
    with caplog.at_level(logging.WARNING):
        assert [one.get(KEY), one.get(KEY)] == [None, None]
    assert (one.stats()["corrupt"], names(s3, bucket)) == (1, [])
    assert len([line for line in caplog.messages if "is corrupt" in line]) == 1


def test_an_object_that_another_program_wrote_anew_is_not_judged_by_the_old_checksum(
    backend: Callable[..., RemoteBackend], s3: Any, bucket: str
) -> None:
    one = backend()
    one.put(KEY, chunk())
    s3.put_object(Bucket=bucket, Key=NAME, Body=b"\7" * 8192)
    found = one.get(KEY)
    assert found is not None
    assert bytes(found.payload) == b"\7" * 8192


def test_confirm_notices_a_new_writing(backend: Callable[..., RemoteBackend], s3: Any, bucket: str) -> None:
    one = backend()
    assert not one.confirm(KEY)
    one.put(KEY, chunk())
    assert one.confirm(KEY)
    s3.put_object(Bucket=bucket, Key=NAME, Body=b"short")
    assert not one.confirm(KEY)


def test_clear_takes_the_chunks_of_this_deployment_below_its_prefix_and_nothing_else(
    backend: Callable[..., RemoteBackend], s3: Any, bucket: str
) -> None:
    one = backend("/some/prefix")
    for number in range(300):
        s3.put_object(Bucket=bucket, Key=f"some/prefix/org_model@1@{number % 2}@{number:x}@half", Body=bytes(8192))
    others = [
        "org_model@1@0@1@half",
        "some/prefix/notes.txt",
        "some/prefix/org_model@1@0@1@float",
        "some/prefix/org_model@2@0@1@half",
        "some/prefix/org_model@1@notes",
    ]
    for name in others:
        s3.put_object(Bucket=bucket, Key=name, Body=b"mine")
    reported: list[int] = []
    assert list(one.clear(reported.append).values()) == [16] * 300
    assert (sum(reported), len(reported)) == (300, 2)
    assert sorted(names(s3, bucket)) == sorted(others)


def test_remove_and_a_probe_leave_nothing(backend: Callable[..., RemoteBackend], s3: Any, bucket: str) -> None:
    one = backend()
    probe = ChunkKey(PROBE_MODEL, 1, 0, 1, "half")
    assert one.put(probe, chunk(1))
    assert one.get(probe) is not None
    assert list(one.keys()) == []
    assert one.remove(probe)
    assert one.put(KEY, chunk())
    assert list(one.keys()) == [NAME]
    assert one.remove(KEY)
    assert not one.remove(KEY)
    assert names(s3, bucket) == []


def test_an_engine_stores_and_retrieves_through_a_bucket(s3_server: Any, bucket: str) -> None:
    config = opened(s3_server, bucket, local_cpu=False, max_local_cpu_size=0.01)
    tokens = list(range(100))
    for act in ("store", "retrieve"):
        manager = Manager(config)
        manager.start()
        engine = manager.lmcache_engine
        assert engine is not None
        assert engine.store(tokens) == 96 if act == "store" else engine.retrieve(tokens).sum() == 96
        manager.stop()


def test_a_bucket_that_is_not_there_is_told_and_costs_no_more_than_misses(
    s3: Any, backend: Callable[..., RemoteBackend], bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    one = backend()
    s3.delete_bucket(Bucket=bucket)
    assert (one.put(KEY, chunk()), one.get(KEY), one.contains(KEY)) == (False, None, False)
    assert not one.put(KEY, chunk())
    assert len([line for line in caplog.messages if "takes no chunk" in line]) == 1
    with pytest.raises(StorageError, match=r"cannot be cleared: .*bucket does not exist"):
        one.clear()
    s3.create_bucket(Bucket=bucket)
    assert one.put(KEY, chunk())


def test_a_server_that_is_gone_is_missed_and_taken_up_again_and_no_secret_is_told(
    eventually: Callable[..., Any], caplog: pytest.LogCaptureFixture, s3_server: Any
) -> None:
    own = type(s3_server)()  # a second one, to be stopped
    try:
        own.client().create_bucket(Bucket="own")
        one = open_remote(opened(own, "own"), LAYOUT)
        assert one.put(KEY, chunk())
        own.stop()
        with caplog.at_level(logging.WARNING):
            assert [one.get(KEY) for _ in range(1000)] == [None] * 1000
            assert not one.put(KEY, chunk())
        assert len([line for line in caplog.messages if "does not answer" in line]) == 1
        assert own.secret_key not in caplog.text
        own.start()
        own.client().create_bucket(Bucket="own")
        eventually(lambda: one.put(KEY, chunk()), "a put")
    finally:
        own.stop()


def test_a_missing_package_is_one_line_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "lmcache_admin.engine.remote.s3", raising=False)
    with pytest.raises(StorageError, match=r"s3:// needs a package .*: pip install 'lmcache-admin\[objects\]'"):
        open_remote(Configuration.from_mapping({"remote_url": "s3://bucket"}, {}), LAYOUT)
