"""`remote_url`: what is understood, what is refused, and what is shown of it."""

from __future__ import annotations

from typing import Any

import pytest

from lmcache_admin.engine import Configuration, StorageError
from lmcache_admin.engine.chunks import Layout
from lmcache_admin.engine.remote import masked, open_store
from lmcache_admin.engine.remote.address import Address, Bucket

LAYOUT = Layout(2, 2, 64, "half")
SECRETS = ("hunter2", "us3r")


def opened(url: str | None, **keys: Any) -> Any:
    return open_store(Configuration.from_mapping({"remote_url": url, **keys}, {}), LAYOUT, writable=False)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://cache:6379/0", "redis://cache:6379/0"),
        ("redis://us3r:hunter2@cache:6379/0", "redis://***@cache:6379/0"),
        ("rediss://:hunter2@cache:6379", "rediss://***@cache:6379"),
        ("redis://:a/hunter2@b@cache:6379", "redis://***@cache:6379"),
        ("redis://cache:6379?password=hunter2&username=us3r", "redis://cache:6379"),
        ("redis://cache:6379/0#hunter2", "redis://cache:6379/0"),
        ("redis://cache?password=a@hunter2", "redis://***"),
        ("redis://:a?b@hunter2@cache", "redis://***"),
        ("redis://:hunter2?@cache", "redis://***"),
        ("unix://us3r:hunter2@/run/redis.sock?db=2", "unix://***@/run/redis.sock"),
        ("s3://us3r:hunter2@bucket/prefix", "s3://***@bucket/prefix"),
        ("fs://host:1/data/a@b,/data/c", "fs://host:1/data/a@b,/data/c"),
        ("fs://us3r:hunter2@host:1/data", "fs://***@host:1/data"),
        ("hunter2", "a text without a scheme"),
    ],
)
def test_nothing_secret_is_shown_of_a_url(url: str, shown: str) -> None:
    assert masked(url) == shown
    assert not any(secret in masked(url) for secret in SECRETS)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("lm://host:1", "scheme 'lm' is not supported; supported: fs, file, redis"),
        ("redis-cluster://host:1", "scheme 'redis-cluster' is not supported"),
        ("hunter2", "a text without a scheme is not supported"),
        ("file://host/data", "names a host; a folder is file:///FOLDER"),
        ("fs://host:1", "names no folder"),
        ("fs://host:1/", "names no folder"),
        ("fs://host:1/a,b", "not an absolute one"),
        ("fs://host:1/a,", "names no folder"),
        ("redis://us3r:hunter2@cache:port", "cannot be read"),
        ("valkey://us3r:hunter2@cache", "names no port"),
        ("s3://", "names no bucket"),
        ("s3://us3r:hunter2@bucket", "names no bucket, or holds a user"),
        ("s3://bucket:9000/x", "names no bucket"),
    ],
)
def test_a_url_that_cannot_be_used_is_one_line_without_a_secret(url: str, why: str) -> None:
    with pytest.raises(StorageError) as refused:
        opened(url)
    assert why in str(refused.value)
    assert "remote_url: " in str(refused.value)
    assert not any(secret in str(refused.value) for secret in SECRETS)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"remote_serde": "cachegen"}, "remote_serde: 'cachegen' is not supported with remote_url; supported: naive"),
        ({"extra_config": {"save_chunk_meta": True}}, "save_chunk_meta: must be false for valkey://"),
        ({"extra_config": {"valkey_mode": "cluster"}}, "cluster is not supported; supported: standalone"),
        ({"extra_config": {"valkey_enable_ttl": True, "valkey_ttl_sec": 0}}, "allowed: seconds from 1"),
    ],
)
def test_a_key_beside_the_url_that_cannot_be_used_is_named(keys: dict[str, Any], why: str) -> None:
    with pytest.raises(StorageError, match=why.replace("(", r"\(")):
        opened("valkey://cache:6379", **keys)


def test_an_element_type_that_lmcaches_header_cannot_name_is_refused_where_there_are_headers() -> None:
    config = Configuration.from_mapping({"remote_url": "redis://cache"}, {})
    with pytest.raises(StorageError, match="keeps no chunks of element type int8"):
        open_store(config, Layout(2, 2, 64, "int8"))


@pytest.mark.parametrize(
    ("url", "bucket"),
    [
        ("s3://chunks", Bucket("chunks", "", None)),
        ("s3://chunks/a/b/", Bucket("chunks", "a/b/", None)),
        ("s3://chunks.s3.eu-west-1.amazonaws.com", Bucket("chunks", "", None)),
        ("s3://my.chunks.s3.amazonaws.com", Bucket("my.chunks", "", None)),
        ("s3://c--use1-az4--x-s3.s3express-use1-az4.us-east-1.amazonaws.com", Bucket("c--use1-az4--x-s3", "", None)),
        ("s3://chunks.minio.local:9000/p", Bucket("chunks", "p/", "minio.local:9000")),
        ("s3://chunks.127.0.0.1:9000", Bucket("chunks", "", "127.0.0.1:9000")),
        ("gs://my.chunks/p", Bucket("my.chunks", "p/", None)),
    ],
)
def test_a_bucket_is_named_alone_or_as_lmcache_names_it(url: str, bucket: Bucket) -> None:
    assert Address.parse(url).bucket == bucket


def test_a_bucket_is_named_in_the_path_where_the_host_is_an_address() -> None:
    assert Address.parse("s3://chunks.127.0.0.1:9000").bucket.by_path
    assert not Address.parse("s3://chunks.minio.local:9000").bucket.by_path
