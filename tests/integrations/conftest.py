"""Real LMCache: the standalone starter in a process of its own, once with our server and once with its own."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

#: Interpreter that has LMCache 0.5.6 and this package; the tests themselves need neither torch nor LMCache.
PYTHON = os.environ.get("LMCACHE_ADMIN_TEST_LMCACHE_PYTHON")
CEILING = 120.0
OWN = ("-m", "lmcache.v1.standalone")
OURS = ("-m", "lmcache_admin", "run", *OWN)
SECRET = "correct horse battery staple"


class Answer(NamedTuple):
    """Status, content type, Location and body of an answer."""

    status: int
    type: str | None
    location: str | None
    body: bytes

    def json(self) -> Any:
        """The body read as JSON (with Infinity, which LMCache's configuration holds)."""
        return json.loads(self.body)


class SocketConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=CEILING)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(CEILING)
        self.sock.connect(self._path)


@dataclass
class Standalone:
    """LMCache's standalone starter in a process of its own.

    Args:
        process: The process.
        target: Port, or path of the socket.
        folder: Where it runs.
    """

    process: subprocess.Popen[bytes]
    target: int | str
    folder: Path

    @property
    def log(self) -> Path:
        """File with what it wrote."""
        return self.folder / "log"

    @property
    def disk(self) -> Path:
        """Folder of its LocalDiskBackend."""
        return self.folder / "disk"

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request on a connection of its own."""
        if isinstance(self.target, str):
            connection: http.client.HTTPConnection = SocketConnection(self.target)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.target, timeout=CEILING)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(
                response.status, response.getheader("Content-Type"), response.getheader("Location"), response.read()
            )
        finally:
            connection.close()

    def wait_until_it_answers(self) -> None:
        """Wait for the first answer; a process that ends before that fails the test with its log."""
        end = time.monotonic() + CEILING
        while True:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            try:
                self.request("GET", "/version")
            except OSError:
                time.sleep(0.05)
            else:
                return

    def end(self) -> int:
        """Send SIGTERM, as a process manager does, and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end and return the exit code."""
        try:
            return self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


Start = Callable[..., Standalone]


@pytest.fixture(scope="session")
def lmcache_python() -> str:
    """The interpreter that has LMCache."""
    if PYTHON is None:
        pytest.skip("LMCACHE_ADMIN_TEST_LMCACHE_PYTHON names no interpreter with LMCache 0.5.6")
    return PYTHON


@pytest.fixture(scope="session")
def start_process() -> Iterator[Start]:
    """Start a process that serves an engine: `start_process(command, worker_id=0, **configuration)`.

    The command gets `--config FILE`; in it, {folder} is the folder of the process. All end with the session.
    """
    started: list[Standalone] = []
    with tempfile.TemporaryDirectory(prefix="lma") as name:

        def start(command: Sequence[str], worker_id: int = 0, **configuration: Any) -> Standalone:
            folder = Path(name, str(len(started)))
            values = settings(folder, **configuration)
            file = folder / "lmcache.yaml"
            file.write_text(json.dumps(values))  # JSON is YAML
            port = values["internal_api_server_port_start"] + 1 + worker_id
            prefix = values.get("internal_api_server_socket_path_prefix")
            with (folder / "log").open("wb") as log:
                process = subprocess.Popen(
                    [part.replace("{folder}", str(folder)) for part in (*command, "--config", str(file))],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=folder,
                    env=environment(),
                )
            standalone = Standalone(process, f"{prefix}_{port}" if prefix else port, folder)
            started.append(standalone)
            return standalone

        yield start
        for standalone in started:
            standalone.process.terminate()
        for standalone in started:
            standalone.wait()  # a second signal would break off LMCache's stop, whose threads then never end


@pytest.fixture(scope="session")
def start_standalone(lmcache_python: str, start_process: Start) -> Start:
    """Start LMCache's starter: `start_standalone(command, worker_id=0, **configuration)`."""

    def start(command: tuple[str, ...], worker_id: int = 0, **configuration: Any) -> Standalone:
        return start_process([lmcache_python, *command, "--worker-id", str(worker_id)], worker_id, **configuration)

    return start


def settings(folder: Path, **configuration: Any) -> dict[str, Any]:
    """A small engine on CPU with both local backends, in a folder of its own."""
    disk = folder / "disk"
    disk.mkdir(parents=True)
    return {
        "chunk_size": 16,
        "local_cpu": True,
        "max_local_cpu_size": 0.05,
        "local_disk": f"{disk}/",
        "max_local_disk_size": 0.05,
        "internal_api_server_enabled": True,
        "internal_api_server_port_start": unused_port() - 1,
        "extra_config": {"internal_api_server_local_users": "any"},
        **configuration,
    }


def environment() -> dict[str, str]:
    """The environment of every process: no settings from ours, and a secret that only one server shows."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LMCACHE_", "COV"))}
    return {**kept, "PYTHONHASHSEED": "0", "LMCACHE_TRACK_USAGE": "false", "STORE_PASSWORD": SECRET}


#: Where ports are looked for, another place for each test run: below those that the system gives to clients.
_ports = itertools.count(24000 + os.getpid() * 16 % 8000, 2)


def unused_port() -> int:
    """A port that nobody listens on, nor on the one below, where the scheduler would be."""
    for port in _ports:
        with socket.socket() as below, socket.socket() as probe:
            try:
                below.bind(("127.0.0.1", port - 1))
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port")


@dataclass
class Pair:
    """One engine with our server and one with LMCache's own; both get each request."""

    ours: Standalone
    theirs: Standalone

    def both(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[Answer, Answer]:
        """Send a request to both; status, content type and Location must be the same."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        ours = self.ours.request(method, path, body, sent)
        theirs = self.theirs.request(method, path, body, sent)
        assert (ours.status, ours.type) == (theirs.status, theirs.type), (ours, theirs)
        assert without_host(ours.location) == without_host(theirs.location)
        return ours, theirs

    def same(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Any:
        """Send a request to both; the bodies must be the same too. Returns the JSON value, or the text."""
        ours, theirs = self.both(method, path, body, **headers)
        if (ours.type or "").startswith("application/json"):
            assert ours.json() == theirs.json()
            return ours.json()
        assert ours.body == theirs.body
        return ours.body.decode()


def without_host(location: str | None) -> str | None:
    """The path of a Location: ours never repeats the client's Host header."""
    return location and "/" + location.split("//", 1)[-1].split("/", 1)[-1]


@pytest.fixture(scope="session")
def pair(start_standalone: Start) -> Pair:
    """Both engines, started side by side."""
    pair = Pair(start_standalone(OURS), start_standalone(OWN))
    pair.ours.wait_until_it_answers()
    pair.theirs.wait_until_it_answers()
    return pair
