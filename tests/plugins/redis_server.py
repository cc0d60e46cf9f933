"""A real Redis for a test, on a free loopback port and a Unix socket, empty at each start."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CEILING = 30.0


class RedisServer:
    """A `redis-server` of the test's own that keeps nothing on disk.

    Args:
        password: What it asks of clients; empty for nothing.
    """

    def __init__(self, password: str = "") -> None:
        self._program = shutil.which("redis-server")
        if self._program is None:
            pytest.skip("redis-server is not installed")
        self._folder = Path(tempfile.mkdtemp(prefix="redis-"))  # short: a socket's path has at most 107 bytes
        self._process: subprocess.Popen[bytes] | None = None
        self.password = password
        self.port = _free_port()
        self.socket = str(self._folder / "redis.sock")

    @property
    def url(self) -> str:
        """Database 0 over TCP, as LMCache's `remote_url` has it."""
        return f"redis://{self._login}127.0.0.1:{self.port}/0"

    @property
    def unix_url(self) -> str:
        """Database 0 over the Unix socket."""
        return f"unix://{self._login}{self.socket}?db=0"

    def start(self, password: str | None = None) -> None:
        """Start it, empty, at the same addresses as before; another password than before if one is given."""
        assert self._process is None, "it is running"
        self.password = self.password if password is None else password
        log = self._folder / "log"
        place = ["--bind", "127.0.0.1", "--port", str(self.port), "--unixsocket", self.socket]
        kept = ["--save", "", "--appendonly", "no", "--dir", str(self._folder), "--logfile", str(log)]
        login = ["--requirepass", self.password] if self.password else []
        assert self._program is not None
        self._process = subprocess.Popen([self._program, *place, *kept, *login])
        end = time.monotonic() + CEILING
        while not self._answers():
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < end, "redis-server does not answer"
            time.sleep(0.005)

    def stop(self) -> None:
        """Stop it, its content with it; does nothing when it is not running."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            process.wait(CEILING)

    def pause(self) -> None:
        """Let it hang: it takes connections (the system does) and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop it and remove what it left."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _login(self) -> str:
        return f":{self.password}@" if self.password else ""

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


@pytest.fixture(scope="session")
def make_redis_server() -> Iterator[Callable[..., RedisServer]]:
    """Start servers that last as long as the test run: `make_redis_server(password="")`."""
    made: list[RedisServer] = []

    def make(password: str = "") -> RedisServer:
        made.append(RedisServer(password))
        made[-1].start()
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A running server for one test; `stop()`, `start()` (comes back empty), `pause()`, `resume()`."""
    server = RedisServer()
    try:
        server.start()
        yield server
    finally:
        server.close()


def _free_port() -> int:
    """A port below the ephemeral ones, so that no outgoing connection takes it while the server is stopped."""
    first = 12000 + os.getpid() * 13 % 9000
    for port in range(first, first + 2000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")
