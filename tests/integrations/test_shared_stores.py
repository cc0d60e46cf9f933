"""Stores shared with the real LMCache 0.5.6: what its remote backend wrote ours reads, and the other way round."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmcache_admin.engine import Configuration, Engine, Manager
from lmcache_admin.engine.chunks import ChunkKey

pytestmark = pytest.mark.lmcache

MODEL = "org/some-model.7b"
LAYERS, HEADS, HEAD_SIZE, CHUNK = 2, 4, 16, 16
TOKENS = list(range(100, 152))  # three whole chunks and one of four tokens
LAYOUTS = [("float16", False), ("bfloat16", False), ("float32", False), ("uint8", False), ("float16", True)]
STORES = ["fs", "two folders", "fs without headers", "redis", "unix", "resp"]
PAIRS = [
    *((store, LAYOUTS[0]) for store in STORES),
    *((store, layout) for store in ("fs", "redis") for layout in LAYOUTS[1:]),
]


class LMCacheSide:
    """LMCache's remote backend in a process of its own."""

    def __init__(self, python: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LMCACHE_", "COV"))}
        self._process = subprocess.Popen(
            [python, str(Path(__file__).with_name("lmcache_stores.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**kept, "LMCACHE_TRACK_USAGE": "false"},
        )

    def __call__(self, do: str, configuration: dict[str, Any], layout: tuple[str, bool], **more: Any) -> Any:
        """Let it do one thing with a backend of that configuration."""
        dtype, mla = layout
        shape = [LAYERS, HEADS, HEAD_SIZE]
        asked = {"do": do, "configuration": configuration, "shape": shape, "mla": mla, "model": MODEL, "dtype": dtype}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({**asked, **more}).encode() + b"\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"LMCache's side ended while it was to {do}"
        return json.loads(answer)

    def end(self) -> None:
        """Let it end by itself."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def lmcache_side(lmcache_python: str) -> Iterator[LMCacheSide]:
    side = LMCacheSide(lmcache_python)
    yield side
    side.end()


@pytest.fixture
def configuration(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """The engine's keys for the store that the test is run with: one file serves both sides."""
    extra: dict[str, Any] = {}
    if request.param in ("fs", "two folders", "fs without headers"):
        folders = ("a", "b") if request.param == "two folders" else ("a",)
        url = f"fs://host:1{','.join(str(tmp_path / name) for name in folders)}"
        extra = {"save_chunk_meta": False} if request.param == "fs without headers" else {}
    else:
        server = request.getfixturevalue("redis_server")
        url = server.unix_url if request.param == "unix" else server.url
        if request.param == "resp":
            url = url.removesuffix("/0").replace("redis://", "resp://")
            extra = {"save_chunk_meta": False}
    return {"chunk_size": CHUNK, "remote_url": url, "extra_config": extra}


Start = Callable[[dict[str, Any], tuple[str, bool]], Engine]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start embedded engines that have nothing but the remote store beside memory, and nothing in memory."""
    managers: list[Manager] = []

    def start(configuration: dict[str, Any], layout: tuple[str, bool]) -> Engine:
        dtype, mla = layout
        shape = {
            "model_name": MODEL, "layers": LAYERS, "heads": HEADS, "head_size": HEAD_SIZE, "blocks": 8, "dtype": dtype,
            "mla": mla,
        }
        ours = {f"embedded_engine_{name}": value for name, value in shape.items()}
        extra = {**configuration["extra_config"], **ours}
        values = {**configuration, "extra_config": extra, "local_cpu": False, "max_local_cpu_size": 0.01}
        manager = Manager(Configuration.from_mapping(values, {}))
        managers.append(manager)
        manager.start()
        assert manager.lmcache_engine is not None
        return manager.lmcache_engine

    yield start
    for manager in managers:
        manager.stop()


def payload_in(engine: Engine, start: int, end: int) -> bytes:
    """The bytes that a chunk of slots start to end must have: [planes, layers, tokens, width]."""
    layers = []
    for cache in engine.gpu_connector.kvcaches:
        planes = cache[None] if cache.ndim == 3 else cache
        layers.append(planes.reshape(planes.shape[0], -1, int(np.prod(planes.shape[3:])))[:, start:end])
    return np.stack(layers, axis=1).tobytes()


def written_by_lmcache(
    side: LMCacheSide, configuration: dict[str, Any], layout: tuple[str, bool], tokens: list[int]
) -> list[tuple[int, int, str, bytes]]:
    """Chunks of random bytes under the keys that LMCache itself gives the tokens: start, end, key, payload."""
    unfull = {**configuration, "save_unfull_chunk": len(tokens) % CHUNK != 0}
    size = {"float16": 2, "bfloat16": 2, "float32": 4, "uint8": 1}[layout[0]] * LAYERS
    size *= HEAD_SIZE if layout[1] else 2 * HEADS * HEAD_SIZE
    random = np.random.default_rng(7)
    chunks = [
        (first, last, key, random.bytes(size * (last - first)))
        for first, last, key in side("keys", unfull, layout, tokens=tokens)
    ]
    encoded = [(key, last - first, base64.b64encode(payload).decode()) for first, last, key, payload in chunks]
    side("write", configuration, layout, chunks=encoded)
    return chunks


@pytest.mark.parametrize(("configuration", "layout"), PAIRS, indirect=["configuration"], ids=str)
def test_what_lmcache_wrote_is_found_and_read_byte_for_byte(
    lmcache_side: LMCacheSide, configuration: dict[str, Any], layout: tuple[str, bool], start: Start
) -> None:
    tokens = TOKENS[:48] if "resp:" in configuration["remote_url"] else TOKENS
    chunks = written_by_lmcache(lmcache_side, configuration, layout, tokens)
    engine = start({**configuration, "save_unfull_chunk": len(tokens) % CHUNK != 0}, layout)
    for cache in engine.gpu_connector.kvcaches:
        cache[...] = 0
    assert engine.lookup(tokens) == len(tokens)
    assert engine.retrieve(tokens).sum() == len(tokens)
    for first, last, _, payload in chunks:
        assert payload_in(engine, first, last) == payload


@pytest.mark.parametrize(("configuration", "layout"), PAIRS, indirect=["configuration"], ids=str)
def test_what_we_wrote_is_found_and_read_by_lmcache_byte_for_byte(
    lmcache_side: LMCacheSide, configuration: dict[str, Any], layout: tuple[str, bool], start: Start
) -> None:
    unfull = {**configuration, "save_unfull_chunk": "resp:" not in configuration["remote_url"]}
    tokens = TOKENS if unfull["save_unfull_chunk"] else TOKENS[:48]
    engine = start(unfull, layout)
    assert engine.store(tokens) == len(tokens)
    keys = lmcache_side("keys", unfull, layout, tokens=tokens)
    found = lmcache_side("read", configuration, layout, keys=[key for _, _, key in keys])
    planes, width = (1, HEAD_SIZE) if layout[1] else (2, HEADS * HEAD_SIZE)
    for (first, last, _), (shape, dtype, payload) in zip(keys, found, strict=True):
        assert base64.b64decode(payload) == payload_in(engine, first, last)
        assert (shape, dtype) == ([planes, LAYERS, last - first, width], f"torch.{layout[0]}")


@pytest.mark.parametrize("configuration", ["fs", "fs without headers"], indirect=True)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_files_are_the_same_whoever_wrote_them(
    lmcache_side: LMCacheSide, configuration: dict[str, Any], layout: tuple[str, bool], start: Start, tmp_path: Path
) -> None:
    engine = start({**configuration, "save_unfull_chunk": True}, layout)
    engine.store(TOKENS)
    ours = {path.name: path.read_bytes() for path in (tmp_path / "a").glob("*.data")}
    theirs = {**configuration, "remote_url": f"fs://host:1{tmp_path / 'theirs'}"}
    chunks = [
        (key, last - first, base64.b64encode(payload_in(engine, first, last)).decode())
        for first, last, key in lmcache_side("keys", {**theirs, "save_unfull_chunk": True}, layout, tokens=TOKENS)
    ]
    lmcache_side("write", theirs, layout, chunks=chunks)
    assert len(ours) == 4
    assert {path.name: path.read_bytes() for path in (tmp_path / "theirs").iterdir()} == ours


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("scheme", ["redis", "resp"])
def test_entries_are_the_same_whoever_wrote_them(
    lmcache_side: LMCacheSide, layout: tuple[str, bool], scheme: str, start: Start, redis_server: Any
) -> None:
    import redis

    url = redis_server.url.removesuffix("/0").replace("redis://", f"{scheme}://")
    configuration = {"chunk_size": CHUNK, "remote_url": url, "extra_config": {"save_chunk_meta": scheme == "redis"}}
    tokens = TOKENS[:48]
    engine = start(configuration, layout)
    engine.store(tokens)
    with redis.Redis.from_url(redis_server.url) as client:
        names = [name for name in client.scan_iter() if not name.startswith(b"lmcache-admin:")]
        ours = dict(zip(names, client.mget(names), strict=True))
        client.flushdb()
        chunks = [
            (key, last - first, base64.b64encode(payload_in(engine, first, last)).decode())
            for first, last, key in lmcache_side("keys", configuration, layout, tokens=tokens)
        ]
        lmcache_side("write", configuration, layout, chunks=chunks)
        names = list(client.scan_iter())
        theirs = dict(zip(names, client.mget(names), strict=True))
    assert len(ours) == (6 if scheme == "redis" else 3)
    assert theirs == ours


@pytest.mark.parametrize("configuration", ["fs", "two folders"], indirect=True)
def test_lmcache_lists_the_chunks_and_nothing_else_of_ours(
    lmcache_side: LMCacheSide, configuration: dict[str, Any], start: Start
) -> None:
    engine = start(configuration, LAYOUTS[0])
    storage = engine.storage_manager
    assert storage is not None
    engine.store(TOKENS)
    remote = storage.backends["RemoteBackend"]
    chunk = remote.get(ChunkKey.parse(lmcache_side("keys", configuration, LAYOUTS[0], tokens=TOKENS)[0][2]))
    assert chunk is not None
    remote.put(ChunkKey("lmcache-admin-probe", 1, 0, 1, "half"), chunk)  # a probe that was killed on its way
    stems = [key.replace("/", "-SEP-") for _, _, key in lmcache_side("keys", configuration, LAYOUTS[0], tokens=TOKENS)]
    assert lmcache_side("list", configuration, LAYOUTS[0]) == sorted(stems)


@pytest.mark.parametrize("configuration", ["fs", "two folders", "fs without headers"], indirect=True)
def test_a_chunk_that_lmcache_writes_anew_is_not_judged_by_our_checksum(
    lmcache_side: LMCacheSide, configuration: dict[str, Any], start: Start
) -> None:
    engine = start(configuration, LAYOUTS[0])
    engine.store(TOKENS)
    chunks = written_by_lmcache(lmcache_side, configuration, LAYOUTS[0], TOKENS[:48])
    assert engine.retrieve(TOKENS).sum() == 48
    assert all(payload_in(engine, first, last) == payload for first, last, _, payload in chunks)
    storage = engine.storage_manager
    assert storage is not None
    assert storage.stats()["RemoteBackend"]["corrupt"] == 0


@pytest.mark.parametrize("configuration", STORES, indirect=True)
def test_a_damaged_chunk_of_ours_is_gone_for_lmcache_once_we_have_read_it(
    lmcache_side: LMCacheSide, configuration: dict[str, Any], start: Start, tmp_path: Path, request: Any
) -> None:
    engine = start(configuration, LAYOUTS[0])
    engine.store(TOKENS)
    key = lmcache_side("keys", configuration, LAYOUTS[0], tokens=TOKENS)[1][2]
    if configuration["remote_url"].startswith("fs:"):
        (path,) = tmp_path.rglob(f"{key.replace('/', '-SEP-')}.data")
        path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    else:
        import redis

        with redis.Redis.from_url(request.getfixturevalue("redis_server").url) as client:
            name = key if "resp:" in configuration["remote_url"] else f"{key}kv_bytes"
            client.setrange(name, 77, b"\xff\xfe\xfd")
    assert engine.retrieve(TOKENS).sum() == 16
    first, second, third = (text for _, _, text in lmcache_side("keys", configuration, LAYOUTS[0], tokens=TOKENS))
    found = lmcache_side("read", configuration, LAYOUTS[0], keys=[first, second, third])
    assert [one is not None for one in found] == [True, False, True]


