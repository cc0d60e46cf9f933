"""Lookups through the real client, socket and server: what is found, and what happens when a worker is silent."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lmcache_admin
from lmcache_admin.engine import Manager
from lmcache_admin.engine.chunks import Chunk
from lmcache_admin.engine.lookup.place import socket_path

MakeManager = Callable[..., Manager]
TOKENS = list(range(100))
PROGRAM = Path(__file__).with_name("worker_process.py")


def store(manager: Manager, count: int) -> None:
    assert manager.lmcache_engine is not None
    manager.lmcache_engine.store(tokens=TOKENS[:count])


def lookup(manager: Manager, tokens: Any = TOKENS, lookup_id: str = "r", **arguments: Any) -> int:
    assert manager.lookup_client is not None
    return manager.lookup_client.lookup(tokens, lookup_id, **arguments)


class Tensor:
    """What we need of torch's: its own method."""

    def __init__(self, values: list[int]) -> None:
        self._values = values

    def tolist(self) -> list[int]:
        return self._values


class Silent:
    """A socket in a worker's place; keeps what comes and answers nothing, or `reply`."""

    def __init__(self, path: str, reply: bytes = b"") -> None:
        Path(path).parent.mkdir(exist_ok=True)
        self.path = path
        self.heard: list[bytes] = []
        self._reply = reply
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(path)
        self._socket.listen()
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            self._connections.append(connection)
            message = connection.recv(65536)
            if not message:
                return
            self.heard.append(message)
            connection.sendall(self._reply)

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(self.path)
        self._thread.join()
        for one in [*self._connections, self._socket]:
            one.close()
        os.unlink(self.path)


@pytest.fixture
def silent(folder: Path) -> Iterator[Callable[..., Silent]]:
    made: list[Silent] = []

    def make(reply: bytes = b"") -> Silent:
        made.append(Silent(socket_path(str(folder), "test", 0), reply))
        return made[-1]

    yield make
    for one in made:
        if os.path.exists(one.path):
            one.close()


@pytest.mark.parametrize(("stored", "found"), [(0, 0), (15, 0), (16, 16), (47, 32), (96, 96), (100, 96)])
def test_the_longest_stored_prefix_is_found(
    scheduler: MakeManager, worker: MakeManager, stored: int, found: int
) -> None:
    store(worker(), stored)
    assert lookup(scheduler()) == found


def test_it_is_found_whatever_holds_the_tokens(scheduler: MakeManager, worker: MakeManager) -> None:
    store(worker(), 48)
    one = scheduler()
    assert [lookup(one, tokens) for tokens in (TOKENS, tuple(TOKENS), np.array(TOKENS), Tensor(TOKENS))] == [48] * 4


def test_other_tokens_in_the_middle_end_the_prefix(scheduler: MakeManager, worker: MakeManager) -> None:
    store(worker(), 96)
    assert lookup(scheduler(), [*TOKENS[:40], 7, *TOKENS[41:]]) == 32


def test_a_prompt_without_a_chunk_needs_no_worker(scheduler: MakeManager, caplog: pytest.LogCaptureFixture) -> None:
    assert lookup(scheduler(), TOKENS[:15]) == 0
    assert caplog.records == []


def test_a_last_short_chunk_counts_where_it_is_stored(scheduler: MakeManager, worker: MakeManager) -> None:
    store(worker(save_unfull_chunk=True), 40)
    assert lookup(scheduler(save_unfull_chunk=True), TOKENS[:40]) == 40
    assert lookup(scheduler(), TOKENS[:40]) == 32


def test_of_several_workers_the_one_that_has_least_counts(scheduler: MakeManager, worker: MakeManager) -> None:
    two = {"world_size": 2}
    store(worker(0, two), 64)
    store(worker(1, two), 32)
    assert lookup(scheduler(two)) == 32


def test_one_of_several_workers_that_is_away_makes_a_miss(scheduler: MakeManager, worker: MakeManager) -> None:
    two = {"world_size": 2}
    store(worker(0, two), 64)
    one = scheduler(two)
    assert lookup(one) == 0
    store(worker(1, two), 64)
    assert lookup(one) == 64


def test_only_named_workers_are_asked(scheduler: MakeManager, worker: MakeManager) -> None:
    two = {"world_size": 2}
    store(worker(0, two), 64)
    assert lookup(scheduler(two, lookup_server_worker_ids=[0])) == 64


def test_of_mla_workers_the_first_is_asked(scheduler: MakeManager, worker: MakeManager) -> None:
    two = {"world_size": 2, "mla": True}
    store(worker(0, two), 64)
    assert lookup(scheduler(two)) == 64


def test_tags_of_a_request_keep_its_chunks_apart(scheduler: MakeManager, worker: MakeManager) -> None:
    manager = worker()
    engine = manager.lmcache_engine
    assert engine is not None
    assert engine.storage_manager is not None
    layout = engine.gpu_connector.layout
    (_, _, key), *_ = engine._spans(TOKENS)
    chunk = Chunk(layout, 16, bytes(layout.nbytes(16)))
    engine.storage_manager.put(key._replace(tags=(("user", "a"),)), chunk)
    one = scheduler()
    assert lookup(one) == 0
    assert lookup(one, request_configs={"lmcache.tag.user": "a", "other": 1}) == 16
    assert lookup(one, request_configs={"lmcache.tag.user": "b"}) == 0


def test_hashes_cross_the_socket_and_tokens_do_not(scheduler: MakeManager, silent: Callable[..., Silent]) -> None:
    body = b'{"tokens":16}'
    server = silent(struct.pack("!I", len(body)) + body)
    assert lookup(scheduler(), TOKENS[:40], request_configs={"lmcache.tag.user": "a", "secret": "s"}) == 16
    (heard,) = server.heard
    message = json.loads(heard[4:])
    assert int.from_bytes(heard[:4], "big") == len(heard) - 4
    assert set(message) == {"version", "chunk_size", "last", "hashes", "tags"}
    assert (message["chunk_size"], message["last"], len(message["hashes"])) == (16, 16, 2)
    assert message["tags"] == {"user": "a"}


def test_what_a_lookup_found_is_remembered_until_it_is_cleared(scheduler: MakeManager, worker: MakeManager) -> None:
    store(worker(), 48)
    client = scheduler().lookup_client
    assert client is not None
    assert client.lookup_cache("r") == -1
    client.lookup(TOKENS, "r")
    assert client.lookup_cache("r") == 48
    client.clear_lookup_status("r")
    client.clear_lookup_status("r")
    assert client.lookup_cache("r") == -1
    assert client.supports_producer_reuse()


def test_without_a_worker_each_lookup_misses_and_one_line_says_so(
    scheduler: MakeManager, worker: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    one = scheduler()
    with caplog.at_level(logging.INFO):
        assert [lookup(one) for _ in range(50)] == [0] * 50
        (line,) = [record.getMessage() for record in caplog.records]
        assert "Worker 0 does not answer" in line
        assert "no such file or directory" in line
        store(worker(), 48)
        assert lookup(one) == 48
    assert "Worker 0 answers lookups again; 50 counted as misses" in caplog.records[-1].getMessage()


def test_a_silent_worker_is_a_miss_and_is_left_alone_for_a_while(
    scheduler: MakeManager,
    worker: MakeManager,
    silent: Callable[..., Silent],
    caplog: pytest.LogCaptureFixture,
    eventually: Callable[..., Any],
) -> None:
    server = silent()
    one = scheduler(lookup_timeout_ms=300)
    with caplog.at_level(logging.WARNING):
        assert [lookup(one) for _ in range(3)] == [0, 0, 0]
    assert len(server.heard) == 1, "the second lookup waited too"
    (line,) = [record.getMessage() for record in caplog.records]
    assert "timed out" in line
    server.close()
    store(worker(), 48)
    eventually(lambda: lookup(one) == 48)


@pytest.mark.parametrize(
    "reply",
    [b"\0\0\0\2[]", b"\0\0\0\2{}", b"\0\0\0\1x", b"\xff\xff\xff\xff", b'\0\0\0\x0d{"tokens":-1}'],
    ids=["no object", "no answer", "no JSON", "too long", "below 0"],
)
def test_junk_from_a_worker_is_a_miss(scheduler: MakeManager, silent: Callable[..., Silent], reply: bytes) -> None:
    silent(reply)
    assert lookup(scheduler()) == 0


def test_another_chunk_size_in_the_worker_is_a_miss_that_says_why(
    scheduler: MakeManager, worker: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    store(worker(chunk_size=32), 96)
    assert lookup(scheduler()) == 0
    assert "chunk_size is 32 in this worker" in caplog.records[-1].getMessage()


def test_a_worker_that_has_restarted_answers_the_next_lookup(scheduler: MakeManager, worker: MakeManager) -> None:
    manager, one = worker(), scheduler()
    store(manager, 48)
    for _ in range(3):
        assert lookup(one) == 48
        manager.stop()
        manager.start()
    assert lookup(one) == 48


def test_many_threads_at_once_get_each_their_own_answer(scheduler: MakeManager, worker: MakeManager) -> None:
    store(worker(), 96)
    one = scheduler()
    counts = [16 * (number % 7) + 3 for number in range(300)]
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda count: lookup(one, TOKENS[:count], f"r{count}"), counts))
    assert found == [count - 3 for count in counts]


def test_a_worker_in_another_process_is_found_and_a_killed_one_missed(
    scheduler: MakeManager, folder: Path, tmp_path: Path
) -> None:
    environ = {**os.environ, "PYTHONPATH": str(Path(lmcache_admin.__file__).parents[1])}
    one = scheduler()
    for _ in range(2):  # the second finds the socket of the killed one in its place
        command = [sys.executable, str(PROGRAM), str(folder), str(tmp_path / "chunks"), "64"]
        with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            assert lookup(one) == 64
            process.send_signal(signal.SIGKILL)
        assert lookup(one) == 0
    os.unlink(socket_path(str(folder), "test", 0))
