"""The worker's lookup server against whatever comes over its socket, and what is left when it ends."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lmcache_admin.engine import Manager
from lmcache_admin.engine.chunks import chunk_hashes
from lmcache_admin.engine.lookup import LookupServer, frames, place, server

MakeManager = Callable[..., Manager]
HASHES = [chained for _, _, chained in chunk_hashes(list(range(48)), 16)]
GOOD = {"version": 1, "chunk_size": 16, "last": 16, "hashes": HASHES}

# Python 3.12 and later warn of each fork of a process with threads, which is what is tested here
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


def path_of(manager: Manager) -> str:
    assert manager.lookup_server is not None
    return manager.lookup_server.path


def connected(manager: Manager) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path_of(manager))  # before the time-out: with one it would not wait for a place in the queue
    sock.settimeout(30)
    return sock


def ask(sock: socket.socket, message: Any) -> Any:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    sock.sendall(struct.pack("!I", len(body)) + body)
    head = sock.recv(4, socket.MSG_WAITALL)
    return json.loads(sock.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)) if head else None


@pytest.fixture(name="stored")
def stored_fixture(worker: MakeManager) -> Manager:
    """A worker that has 32 of the 48 tokens."""
    manager = worker()
    assert manager.lmcache_engine is not None
    manager.lmcache_engine.store(tokens=list(range(32)))
    return manager


def test_a_message_is_answered_with_the_tokens_found(stored: Manager) -> None:
    with connected(stored) as sock:
        assert ask(sock, GOOD) == {"tokens": 32}
        assert ask(sock, {**GOOD, "hashes": HASHES[:1]}) == {"tokens": 16}
        assert ask(sock, {**GOOD, "hashes": [5]}) == {"tokens": 0}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"version": 2}, "version 1"),
        ({"version": None}, "version 1"),
        ({"chunk_size": 8}, "chunk_size is 16"),
        ({"chunk_size": "16"}, "chunk_size is 16"),
        ({"hashes": []}, "hashes are 1 to 32768"),
        ({"hashes": [0] * 32_769}, "hashes are 1 to 32768"),
        ({"hashes": "x"}, "hashes are"),
        ({"hashes": ["x"]}, "hashes are"),
        ({"hashes": [True]}, "hashes are"),
        ({"hashes": [2**63]}, "hashes are"),
        ({"hashes": [1.0]}, "hashes are"),
        ({"last": 0}, "the last chunk"),
        ({"last": 17}, "the last chunk"),
        ({"last": None}, "the last chunk"),
        ({"tags": []}, "tags are texts"),
        ({"tags": {"a": 1}}, "tags are texts"),
    ],
    ids=str,
)
def test_a_message_that_is_not_understood_is_told_why_and_the_next_is_answered(
    stored: Manager, change: dict[str, Any], why: str
) -> None:
    with connected(stored) as sock:
        assert why in ask(sock, {**GOOD, **change})["error"]
        assert ask(sock, GOOD) == {"tokens": 32}


@pytest.mark.parametrize(
    "junk",
    [
        b"\xff\xff\xff\xff",
        struct.pack("!I", frames.MAX_FRAME + 1) + b"x",
        b"\0\0\0\2[]",
        b"\0\0\0\3\xff\xfe\xfd",
        struct.pack("!I", 100_000) + b"[" * 100_000,
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=["length", "too long", "list", "bytes", "nested", "http"],
)
def test_junk_closes_its_connection_and_no_other(stored: Manager, junk: bytes) -> None:
    with connected(stored) as good, connected(stored) as bad:
        bad.sendall(junk)
        assert bad.recv(1) == b""
        assert ask(good, GOOD) == {"tokens": 32}


def test_half_a_message_keeps_nobody_waiting(stored: Manager) -> None:
    with connected(stored) as slow, connected(stored) as quick:
        body = json.dumps(GOOD).encode()
        whole = struct.pack("!I", len(body)) + body
        slow.sendall(whole[:9])
        assert ask(quick, GOOD) == {"tokens": 32}
        slow.sendall(whole[9:])
        assert slow.recv(4, socket.MSG_WAITALL)


def test_half_a_message_that_does_not_go_on_ends(stored: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PATIENCE", 0.01)
    with connected(stored) as slow:
        slow.sendall(b"\0\0")
        assert slow.recv(1) == b""


def test_two_messages_in_one_piece_are_answered_one_after_the_other(stored: Manager) -> None:
    with connected(stored) as sock:
        one = json.dumps({**GOOD, "hashes": HASHES[:1]}).encode()
        sock.sendall((struct.pack("!I", len(one)) + one) * 2)
        answers = [sock.recv(int.from_bytes(sock.recv(4), "big"), socket.MSG_WAITALL) for _ in range(2)]
        assert answers == [b'{"tokens":16}'] * 2


def test_the_newest_of_too_many_connections_is_answered(stored: Manager) -> None:
    crowd = [connected(stored) for _ in range(server.CONNECTIONS + 8)]
    try:
        assert ask(crowd[-1], GOOD) == {"tokens": 32}
        assert crowd[0].recv(1) == b""
    finally:
        for sock in crowd:
            sock.close()


def test_more_at_once_than_the_queue_holds_are_all_answered(
    stored: Manager, scheduler: MakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "BACKLOG", 1)
    monkeypatch.setattr(server, "CONNECTIONS", 1000)
    stored.recreate_lookup_server()
    client = scheduler().lookup_client
    assert client is not None
    with ThreadPoolExecutor(50) as pool:
        found = list(pool.map(lambda number: client.lookup(list(range(48)), f"{number}"), range(500)))
    assert found == [32] * 500


def test_no_lookup_misses_while_the_server_is_replaced_again_and_again(
    stored: Manager, scheduler: MakeManager, caplog: pytest.LogCaptureFixture
) -> None:
    client, done = scheduler().lookup_client, threading.Event()
    assert client is not None

    def look_up(thread: int) -> set[int]:
        found, number = set(), 0
        while not done.is_set():
            found.add(client.lookup(list(range(48)), f"{thread}-{number}"))
            number += 1
        return found

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(look_up, thread) for thread in range(4)]
        for _ in range(300):
            assert "error" not in stored.recreate_lookup_server()
        done.set()
        assert [one.result() for one in asking] == [{32}] * 4
    assert caplog.messages == []


def test_a_server_that_closes_each_connection_is_a_miss_soon(worker: MakeManager, scheduler: MakeManager) -> None:
    manager, client = worker(), scheduler(lookup_timeout_ms=60_000).lookup_client
    assert client is not None
    path = path_of(manager)
    manager.close_lookup_server()
    found: list[int] = []
    with socket.socket(socket.AF_UNIX) as closing:
        closing.bind(path)
        closing.listen()
        asking = threading.Thread(target=lambda: found.append(client.lookup(list(range(48)), "r")))
        asking.start()
        count = 0
        while not found:
            closing.settimeout(0.1)
            with contextlib.suppress(TimeoutError):
                closing.accept()[0].close()
                count += 1
        asking.join()
    os.unlink(path)
    assert (found, count) == ([0], 20)


def test_a_closed_engine_says_so_and_the_server_lives(stored: Manager) -> None:
    engine = stored.lmcache_engine
    assert engine is not None
    with connected(stored) as sock:
        engine.close()
        assert ask(sock, GOOD) == {"error": "RuntimeError: the engine is closed"}
        assert ask(sock, GOOD) == {"error": "RuntimeError: the engine is closed"}


def test_closing_leaves_no_thread_descriptor_or_file(worker: MakeManager) -> None:
    manager = worker()
    manager.close_lookup_server()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        manager.create_lookup_server()
        path = path_of(manager)
        with connected(manager) as sock:
            assert ask(sock, GOOD) == {"tokens": 0}
            manager.close_lookup_server()
    assert len(os.listdir("/proc/self/fd")) == before
    assert not os.path.exists(path)
    assert "lmcache-admin-lookup" not in [thread.name for thread in threading.enumerate()]


def test_a_server_can_be_closed_twice_and_keeps_a_file_that_is_not_its_own(stored: Manager) -> None:
    one = stored.lookup_server
    assert isinstance(one, LookupServer)
    os.unlink(one.path)
    with open(one.path, "w") as other:
        other.write("of another")
    one.close()
    one.close()
    assert os.path.exists(one.path)
    os.unlink(one.path)


def test_a_forked_child_has_no_server_asks_anew_and_leaves_the_parent_alone(
    stored: Manager, scheduler: MakeManager
) -> None:
    client = scheduler().lookup_client
    assert client is not None
    assert client.lookup(list(range(48)), "r") == 32
    path = path_of(stored)

    def work() -> None:
        assert client.lookup(list(range(48)), "r") == 32
        stored.stop()
        assert os.path.exists(path)

    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert client.lookup(list(range(48)), "r") == 32


class Peer:
    """A connection whose other end is another user; a test cannot have one, so it tells only whose it is."""

    def __init__(self, user: int) -> None:
        self._user = user

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_PEERCRED)
        return struct.pack("3i", 1, self._user, 1)


@pytest.mark.parametrize(("user", "trusted"), [(os.geteuid(), True), (0, True), (54321, False)])
def test_only_our_own_user_and_root_are_trusted(user: int, trusted: bool) -> None:
    peer: Any = Peer(user)
    assert place.peer_is_trusted(peer) is trusted
