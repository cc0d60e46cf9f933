"""What a store that is gone, slow, full or somebody else's costs: misses and refusals, a few lines, and no secret."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lmcache_admin
from lmcache_admin.engine import Configuration, Engine, Manager, StorageError, StorageManager
from lmcache_admin.engine.backends.remote import RemoteBackend, open_remote
from lmcache_admin.engine.chunks import Chunk, ChunkKey, Layout
from lmcache_admin.engine.remote.breaker import Breaker

PROGRAM = Path(__file__).with_name("failing_folders.py")
LAYOUT = Layout(2, 2, 64, "half")
CHUNK = Chunk(LAYOUT, 16, b"\5" * LAYOUT.nbytes(16))
TOKENS = list(range(64))
SECRET = "hunter2"


def key(number: int) -> ChunkKey:
    return ChunkKey("embedded_model", 1, 0, number, "half")


def backend(url: str, **keys: Any) -> RemoteBackend:
    return open_remote(Configuration.from_mapping({"chunk_size": 16, "remote_url": url, **keys}, {}), LAYOUT)


@pytest.fixture
def start() -> Iterator[Callable[..., Engine]]:
    managers: list[Manager] = []

    def start(url: str, **keys: Any) -> Engine:
        values = {"chunk_size": 16, "max_local_cpu_size": 0.01, "remote_url": url, **keys}
        managers.append(Manager(Configuration.from_mapping(values, {})))
        managers[-1].start()
        engine = managers[-1].lmcache_engine
        assert engine is not None
        return engine

    yield start
    for manager in managers:
        manager.stop()


def storage_of(engine: Engine) -> StorageManager:
    assert engine.storage_manager is not None
    return engine.storage_manager


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_s64_the_engine_starts_without_redis_and_takes_it_up_when_it_comes(
    redis_server: Any, start: Callable[..., Engine], eventually: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    redis_server.stop()
    engine = start(redis_server.url)
    assert [engine.store(TOKENS) for _ in range(3)] == [0, 0, 0]  # nothing is acknowledged that is in memory alone
    assert engine.lookup(TOKENS) == 64
    assert [line for line in errors(caplog) if "does not answer" in line] == errors(caplog)
    assert len(errors(caplog)) == 1
    redis_server.start()
    eventually(lambda: engine.store(TOKENS) == 64, "a store in Redis")
    assert [line for line in errors(caplog) if "answers again" in line] == errors(caplog)[1:]
    assert len(errors(caplog)) == 2


def test_s64_a_redis_that_comes_back_empty_is_a_miss_and_is_filled_again(
    redis_server: Any, eventually: Callable[..., Any]
) -> None:
    one = backend(redis_server.url)
    assert one.put(key(1), CHUNK)
    assert one.confirm(key(1))
    redis_server.stop()
    assert (one.get(key(1)), one.contains(key(1)), one.confirm(key(1)), one.put(key(2), CHUNK)) == (None, *[False] * 3)
    redis_server.start()
    eventually(lambda: one.put(key(2), CHUNK), "a put")
    assert (one.get(key(1)), one.confirm(key(1))) == (None, False)
    stats = one.stats()
    assert (stats["hits"], stats["misses"], stats["puts"]) == (0, 2, 2)
    assert stats["put_failures"] >= 1


def test_s64_a_restart_between_two_requests_is_not_noticed(redis_server: Any, caplog: pytest.LogCaptureFixture) -> None:
    one = backend(redis_server.url)
    assert one.put(key(1), CHUNK)
    redis_server.stop()
    redis_server.start()
    assert one.put(key(2), CHUNK)
    assert one.get(key(2)) is not None
    assert errors(caplog) == []


def test_s64_a_redis_that_hangs_does_not_cost_each_chunk_its_time_out(
    redis_server: Any, eventually: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    one = backend(redis_server.url)
    assert one.put(key(1), CHUNK)
    redis_server.pause()
    assert [one.get(key(1)) for _ in range(10_000)] == [None] * 10_000  # one time-out each would take eight hours
    assert len(errors(caplog)) == 1
    redis_server.resume()
    assert eventually(lambda: one.get(key(1)), "a get") is not None


def test_the_clear_of_a_store_that_is_gone_says_so(redis_server: Any, start: Callable[..., Engine]) -> None:
    engine = start(redis_server.url)
    assert engine.store(TOKENS) == 64
    redis_server.stop()
    with pytest.raises(StorageError, match="cannot be cleared: it does not answer"):
        engine.clear()
    assert storage_of(engine).allocator_backend.stats()["chunks"] == 0
    assert engine.clear(["LocalCPUBackend"]) == 0


def test_a_clear_asks_although_the_store_did_not_answer_a_moment_ago(redis_server: Any) -> None:
    one = backend(redis_server.url)
    redis_server.stop()
    assert not one.put(key(1), CHUNK)
    redis_server.start()
    assert one.clear() == {}
    assert one.put(key(1), CHUNK)


def test_s64_a_wrong_password_is_a_store_that_does_not_answer_and_stands_in_no_message(
    redis_server: Any, start: Callable[..., Engine], eventually: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    redis_server.stop()
    redis_server.start(password="right")
    url = f"redis://us3r:{SECRET}@127.0.0.1:{redis_server.port}/0"
    with caplog.at_level(logging.DEBUG):
        engine = start(url)
        assert engine.store(TOKENS) == 0
        with pytest.raises(StorageError) as refused:
            engine.clear()
        result = storage_of(engine).probe_backend("RemoteBackend")
    assert (result.status, result.message) == ("failed", "store of the probe's chunk failed")
    shown = [*(record.getMessage() for record in caplog.records), caplog.text, str(refused.value), repr(result)]
    assert any("does not answer" in line for line in shown)
    assert not any(word in line for line in shown for word in (SECRET, "us3r"))


def test_a_password_with_any_character_is_understood_as_redis_py_and_lmcache_do(redis_server: Any) -> None:
    redis_server.stop()
    redis_server.start(password="p@s/s:w ?rd")
    one = backend(f"redis://:p%40s%2Fs%3Aw%20%3Frd@127.0.0.1:{redis_server.port}/3")
    assert one.put(key(1), CHUNK)
    assert not backend(f"redis://:p%40s%2Fs%3Aw%20%3Frd@127.0.0.1:{redis_server.port}/4").contains(key(1))


def test_a_full_redis_refuses_chunks_and_gives_those_that_it_has(
    redis_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    import redis

    one = backend(redis_server.url)
    assert one.put(key(1), CHUNK)
    with redis.Redis.from_url(redis_server.url) as admin:
        admin.config_set("maxmemory", 1)
        assert [one.put(key(number), CHUNK) for number in range(2, 6)] == [False] * 4
        assert one.get(key(1)) is not None
        assert not any(one.contains(key(number)) for number in range(2, 6))
        assert [line for line in errors(caplog) if "takes no chunk" in line] == errors(caplog)
        assert len(errors(caplog)) == 1
        admin.config_set("maxmemory", 0)
    assert one.put(key(2), CHUNK)
    assert errors(caplog)[1:] == [f"{redis_server.url} takes chunks again"]


def test_a_replica_gives_chunks_and_takes_none(redis_server: Any) -> None:
    import redis

    one = backend(redis_server.url)
    assert one.put(key(1), CHUNK)
    with redis.Redis.from_url(redis_server.url) as admin:
        admin.replicaof("127.0.0.1", 1)
        assert not one.put(key(2), CHUNK)
        assert one.get(key(1)) is not None
        assert not one.remove(key(1))


def test_something_that_is_no_redis_is_a_store_that_does_not_answer(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1024)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        one = backend(f"redis://127.0.0.1:{listener.getsockname()[1]}")
        assert (one.put(key(1), CHUNK), one.get(key(1))) == (False, None)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert len(errors(caplog)) == 1


def test_a_missing_package_is_one_line_that_names_the_extra(
    start: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "lmcache_admin.engine.remote.redis_store", raising=False)
    engine = start(f"redis://:{SECRET}@cache")
    assert errors(caplog) == [
        "No RemoteBackend: remote_url: redis:// needs a package that is not installed: "
        "pip install 'lmcache-admin[redis]'"
    ]
    assert storage_of(engine).get_all_backend_names() == ["LocalCPUBackend"]
    assert engine.store(TOKENS) == 64
    with pytest.raises(StorageError, match="pip install"):
        storage_of(engine).create_backends()


def test_a_url_that_cannot_be_used_leaves_the_engine_running(
    start: Callable[..., Engine], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    engine = start(f"fs://host:1{tmp_path}/file/chunks")
    assert [line.split(": ", 2)[:2] for line in errors(caplog)] == [["No RemoteBackend", "remote_url"]]
    assert engine.store(TOKENS) == 64
    (tmp_path / "file").unlink()
    assert storage_of(engine).create_backends() == {"RemoteBackend": "RemoteBackend"}
    assert engine.store(TOKENS) == 64
    assert len(list((tmp_path / "file" / "chunks").glob("*.data"))) == 4


def test_a_folder_that_was_taken_away_is_a_miss_until_it_is_back(tmp_path: Path) -> None:
    one = backend(f"fs://host:1{tmp_path / 'chunks'}")
    assert one.put(key(1), CHUNK)
    (tmp_path / "chunks").rename(tmp_path / "elsewhere")
    assert (one.get(key(1)), one.contains(key(1)), one.put(key(2), CHUNK)) == (None, False, False)
    assert not (tmp_path / "chunks").exists()  # it may be a disk that is not mounted just now
    (tmp_path / "elsewhere").rename(tmp_path / "chunks")
    assert one.get(key(1)) is not None
    assert one.put(key(2), CHUNK)


@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_a_folder_that_is_full_or_read_only_takes_nothing_and_gives_what_it_has(tmp_path: Path, fault: str) -> None:
    own = ["unshare", "--user", "--map-root-user", "--mount"]
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run([*own, *mount], capture_output=True).returncode:
        pytest.skip("no mounts for an ordinary user here")
    environ = {**os.environ, "PYTHONPATH": str(Path(lmcache_admin.__file__).parents[1])}
    program = [*own, sys.executable, str(PROGRAM), str(tmp_path), fault]
    told = json.loads(subprocess.run(program, env=environ, capture_output=True, text=True, check=True).stdout)
    assert told["turns"] == [[64, 64, 64, 64], [0, 0, 0, 64], [64, 64, 64, 64]]
    assert told["found"] == 64
    assert [line.rpartition(": ")[0].partition(" takes ")[2] for line in told["log"]] == ["no chunk", ""]
    assert told["log"][1].endswith("takes chunks again")
    assert told["files"] == [".data"] * 8 + [".sum"] * 8


def test_after_a_failure_one_caller_tries_and_the_others_wait() -> None:
    breaker = Breaker(first=1e-9, longest=60.0)
    assert breaker.allows()
    assert breaker.failed()
    assert breaker.allows()  # the short pause is over: this one tries
    assert not breaker.allows()
    assert not breaker.failed()
    assert breaker.worked()
    assert breaker.allows()
    assert not breaker.worked()
