"""Chunks in a real Redis that other programs use too."""

from __future__ import annotations

import logging
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from lmcache_admin.engine import Configuration
from lmcache_admin.engine.backends.remote import RemoteBackend, open_remote
from lmcache_admin.engine.chunks import PROBE_MODEL, Chunk, ChunkKey, Layout

LAYOUT = Layout(2, 2, 64, "half")
KEY = ChunkKey("org/model", 1, 0, -0x1F, "half")
TEXT = "org/model@1@0@-1f@half"
PAYLOAD, HEADER, CHECKSUM = f"{TEXT}kv_bytes", f"{TEXT}metadata", f"lmcache-admin:crc32:{TEXT}"


def chunk(tokens: int = 16, fill: int = 1) -> Chunk:
    return Chunk(LAYOUT, tokens, bytes([fill]) * LAYOUT.nbytes(tokens))


def header(tokens: int = 16, length: int | None = None) -> bytes:
    return struct.pack("<7i", LAYOUT.nbytes(tokens) if length is None else length, 1, 2, 2, 2, tokens, 64)


def backend(url: str, model: str = "org/model", layout: Layout = LAYOUT, **extra: Any) -> RemoteBackend:
    shape = {"embedded_engine_model_name": model}
    if layout.planes == 1:
        shape |= {"embedded_engine_mla": True, "embedded_engine_world_size": 4}  # type: ignore[dict-item]
    values = {"chunk_size": 16, "remote_url": url, "extra_config": {**shape, **extra}}
    return open_remote(Configuration.from_mapping(values, {}), layout)


@pytest.fixture(scope="module")
def server(make_redis_server: Any) -> Any:
    return make_redis_server()


@pytest.fixture
def client(server: Any) -> Iterator[Any]:
    with redis.Redis.from_url(server.url) as client:
        client.flushdb()
        yield client


@pytest.fixture(params=["redis", "valkey"])
def url(server: Any, request: pytest.FixtureRequest, client: Any) -> str:
    return server.url if request.param == "redis" else f"valkey://127.0.0.1:{server.port}"


def test_a_chunk_is_two_entries_as_lmcache_writes_them_and_a_checksum(server: Any, client: Any) -> None:
    assert backend(server.url).put(KEY, chunk())
    assert client.mget(PAYLOAD, HEADER) == [chunk().payload, header()]
    assert sorted(client.keys()) == sorted(name.encode() for name in (PAYLOAD, HEADER, CHECKSUM))
    assert {client.ttl(name) for name in client.scan_iter()} == {-1}


def test_valkey_has_one_entry_and_takes_whole_chunks_only(server: Any, client: Any) -> None:
    one = backend(f"valkey://127.0.0.1:{server.port}")
    assert one.put(KEY, chunk())
    assert client.get(TEXT) == chunk().payload
    assert not one.put(KEY._replace(chunk_hash=1), chunk(5))
    assert len(client.keys()) == 2


def test_entries_of_valkey_can_expire(server: Any, client: Any) -> None:
    one = backend(f"valkey://127.0.0.1:{server.port}", valkey_enable_ttl="true", valkey_ttl_sec=1000, valkey_database=0)
    assert one.put(KEY, chunk())
    assert all(900 < client.ttl(name) <= 1000 for name in client.scan_iter())


def test_tags_are_part_of_the_entries_names(server: Any, client: Any) -> None:
    tagged = KEY._replace(tags=(("tenant", "a b"), ("x", "%")))
    one = backend(server.url)
    assert one.put(tagged, chunk())
    assert client.exists(f"{TEXT}@tenant%a b@x%%metadata") == 1
    assert one.get(tagged) is not None
    assert list(map(ChunkKey.parse, one.keys())) == [tagged]


def test_a_chunk_without_a_checksum_is_accepted(server: Any, client: Any) -> None:
    client.mset({PAYLOAD: b"\7" * 8192, HEADER: header()})
    one = backend(server.url)
    found = one.get(KEY)
    assert found is not None
    assert bytes(found.payload) == b"\7" * 8192
    assert one.confirm(KEY)


def test_a_changed_byte_is_a_miss_and_the_entries_go(url: str, client: Any, caplog: pytest.LogCaptureFixture) -> None:
    one = backend(url)
    one.put(KEY, chunk())
    client.setrange(PAYLOAD if url.startswith("redis") else TEXT, 5, b"\xff")
    with caplog.at_level(logging.WARNING):
        assert [one.get(KEY), one.get(KEY)] == [None, None]
    assert (one.stats()["corrupt"], one.stats()["misses"], client.keys()) == (1, 2, [])
    assert len([line for line in caplog.messages if "is corrupt" in line]) == 1
    assert one.put(KEY, chunk())
    assert one.get(KEY) is not None


@pytest.mark.parametrize("payload", [b"", b"\7" * 8191, b"\7" * 8193])
def test_a_payload_of_another_length_than_its_header_says_is_corrupt_whoever_wrote_it(
    server: Any, client: Any, payload: bytes
) -> None:
    client.mset({PAYLOAD: payload, HEADER: header()})
    one = backend(server.url)
    assert one.get(KEY) is None
    assert (one.stats()["corrupt"], client.keys()) == (1, [])


@pytest.mark.parametrize(
    "head", [b"", b"junk", header() + header(), struct.pack("<7i", 8192, 1, 3, 2, 2, 16, 64), header(32, 16384)]
)
def test_a_header_of_another_form_is_a_miss_and_the_entries_stay(server: Any, client: Any, head: bytes) -> None:
    client.mset({PAYLOAD: b"\7" * 8192, HEADER: head})
    one = backend(server.url)
    assert one.get(KEY) is None
    assert (one.stats()["corrupt"], len(client.keys())) == (0, 2)


def test_a_valkey_entry_of_another_length_is_a_miss_and_stays(server: Any, client: Any) -> None:
    client.set(TEXT, b"\7" * 4096)
    assert backend(f"valkey://127.0.0.1:{server.port}").get(KEY) is None
    assert client.strlen(TEXT) == 4096


def test_a_header_whose_payload_was_evicted_goes(server: Any, client: Any) -> None:
    one = backend(server.url)
    one.put(KEY, chunk())
    client.delete(PAYLOAD)
    assert (one.contains(KEY), one.confirm(KEY), one.get(KEY)) == (False, False, None)
    assert client.keys() == []


def test_a_chunk_without_its_header_is_not_there_yet(server: Any, client: Any) -> None:
    client.set(PAYLOAD, chunk().payload)
    one = backend(server.url)
    assert (one.contains(KEY), one.get(KEY)) == (False, None)
    assert client.exists(PAYLOAD) == 1


def test_an_evicted_checksum_leaves_the_chunk(url: str, client: Any) -> None:
    one = backend(url)
    one.put(KEY, chunk())
    client.delete(CHECKSUM)
    assert one.confirm(KEY)
    assert one.get(KEY) is not None


def test_confirm_reads_what_it_has_not_seen_and_notices_what_changed(url: str, client: Any) -> None:
    one, other = backend(url), backend(url)
    assert not one.confirm(KEY)
    other.put(KEY, chunk())
    assert one.confirm(KEY)
    other.put(KEY, chunk(fill=2))
    assert one.confirm(KEY)
    client.append(PAYLOAD if url.startswith("redis") else TEXT, b"x")
    assert not one.confirm(KEY)


def test_remove_takes_all_entries(url: str, client: Any) -> None:
    one = backend(url)
    one.put(KEY, chunk())
    assert one.remove(KEY)
    assert not one.remove(KEY)
    assert client.keys() == []


def test_clear_takes_the_chunks_of_this_deployment_and_nothing_else(url: str, client: Any) -> None:
    one = backend(url, model="a*b[c]?")
    mine = [ChunkKey("a*b[c]?", 1, number % 3, number, "half") for number in range(700)]
    others = [
        KEY,
        ChunkKey("axb[c]?", 1, 0, 1, "half"),
        ChunkKey("a*b[c]?", 2, 0, 1, "half"),
        ChunkKey("a*b[c]?", 1, 0, 1, "bfloat16"),
    ]
    suffixes = ("kv_bytes", "metadata") if url.startswith("redis") else ("",)
    client.mset({f"{key.text}{suffix}": header() for key in (*mine, *others) for suffix in suffixes})
    client.mset({"session:1": "mine", "a*b[c]?@1@notes": "mine"})
    client.rpush("a*b[c]?@1@0@ffff@halfmetadata", "a list")
    left = {f"{key.text}{suffix}".encode() for key in others for suffix in suffixes}
    reported: list[int] = []
    cleared = one.clear(reported.append)
    assert set(client.keys()) - {b"a*b[c]?@1@0@ffff@halfmetadata"} == {*left, b"session:1", b"a*b[c]?@1@notes"}
    assert (sum(reported), len(reported) > 2) == (len(cleared), True)
    assert set(cleared.values()) <= ({16, 0} if url.startswith("redis") else {0})
    assert list(one.clear()) == []


def test_a_clear_can_be_stopped_between_two_batches(url: str, client: Any) -> None:
    one = backend(url)
    suffix = "metadata" if url.startswith("redis") else ""
    client.mset({f"{KEY._replace(chunk_hash=number).text}{suffix}": header() for number in range(1000)})

    def stop(count: int) -> None:
        raise InterruptedError(count)

    with pytest.raises(InterruptedError):
        one.clear(stop)
    assert 0 < client.dbsize() < 1000


def test_a_listing_has_each_chunk_and_no_entry_of_others(url: str, client: Any) -> None:
    one = backend(url)
    for number in range(30):
        one.put(KEY._replace(chunk_hash=number), chunk())
    client.mset({"session:1": "mine", "a@b": "mine"})
    assert sorted(one.keys()) == sorted(KEY._replace(chunk_hash=number).text for number in range(30))


def test_a_probe_is_nowhere_where_others_look_and_goes_by_itself(url: str, client: Any) -> None:
    one = backend(url)
    probe = ChunkKey(PROBE_MODEL, 1, 0, 1, "half")
    assert one.put(probe, chunk(1))
    assert one.get(probe) is not None
    assert list(one.keys()) == []
    assert all(name.startswith(b"lmcache-admin:") and 0 < client.ttl(name) <= 600 for name in client.scan_iter())
    assert one.remove(probe)
    assert client.keys() == []
    assert not any(one.stats().values())


def test_workers_with_mla_share_the_chunks_of_worker_0_as_lmcaches_do(server: Any, client: Any) -> None:
    layout = Layout(1, 2, 64, "half")
    latent = Chunk(layout, 16, b"\3" * layout.nbytes(16))
    one = backend(server.url, layout=layout)
    third = KEY._replace(world_size=4, worker_id=3)
    assert one.put(third, latent)
    assert client.exists("org/model@4@0@-1f@halfmetadata") == 1
    assert struct.unpack("<7i", client.get("org/model@4@0@-1f@halfmetadata"))[1:4] == (6, 2, 1)
    assert one.contains(third._replace(worker_id=1))
    alone = backend(server.url, layout=layout, remote_enable_mla_worker_id_as0=False)
    assert not alone.contains(third)


def test_many_threads_share_one_backend(url: str) -> None:
    one = backend(url)
    wrong: list[str] = []

    def work(thread: int) -> None:
        for number in range(40):
            key = KEY._replace(chunk_hash=number)
            if not one.put(key, chunk(fill=number + 1)):
                wrong.append(f"{thread}: {number} was not kept")
            found = one.get(key)
            if found is None or bytes(found.payload) != chunk(fill=number + 1).payload:
                wrong.append(f"{thread}: {number} was read as something else")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert one.stats()["hits"] == 320
