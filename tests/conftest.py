"""A real server on a real socket for every test, a client for it, and a check that nothing is left behind."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lmcache_admin import InternalAPIServer
from lmcache_admin.cli.api import UnixConnection
from lmcache_admin.engine import Configuration, Manager

pytest_plugins = ["jumping_clock", "kill_thread", "redis_server", "s3_server"]  # found by `pythonpath` in tox.ini

#: Ceiling of every wait in a test, seconds; far above what is waited for.
CEILING = 30.0
OURS = ("lmcache-admin-", "api-server-thread")


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def type(self) -> str | None:
        """The content type."""
        return self.headers["Content-Type"]

    def json(self) -> Any:
        """The body read as JSON."""
        return json.loads(self.body)


class Client:
    """Talks to one server; a new connection for each request.

    Args:
        target: A port on 127.0.0.1, or the path of a Unix socket.
    """

    def __init__(self, target: int | str) -> None:
        self.target = target

    def connection(self, timeout: float = CEILING) -> http.client.HTTPConnection:
        """A connection that has not been opened yet."""
        if isinstance(self.target, str):
            return UnixConnection(self.target, timeout)
        return http.client.HTTPConnection("127.0.0.1", self.target, timeout=timeout)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request and read the whole answer."""
        connection = self.connection()
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        """GET; keyword arguments are headers with `_` for `-`."""
        return self.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def post(self, path: str, body: bytes | str | None = None, content_type: str = "application/json") -> Answer:
        """POST."""
        return self.request("POST", path, body, {"Content-Type": content_type} if body is not None else {})

    def put(self, path: str) -> Answer:
        """PUT without a body."""
        return self.request("PUT", path)

    def delete(self, path: str) -> Answer:
        """DELETE without a body."""
        return self.request("DELETE", path)


@dataclass
class Running(Client):
    """A server that is running, and a client for it."""

    server: InternalAPIServer
    manager: Any

    def __post_init__(self) -> None:
        super().__init__(self.server.socket_path or self.server.port or 0)


def eventually(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """Wait until `condition` returns something true, and return that."""
    end = time.monotonic() + CEILING
    while not (value := condition()):
        assert time.monotonic() < end, f"{what} did not come true within {CEILING} s"
        time.sleep(0.01)
    return value


def free_port(count: int = 1) -> int:
    """The first of `count` ports in a row that nobody listens on."""
    first = 21000 + os.getpid() % 9000  # test runs side by side look in different places
    for start in range(first, first + 2000, 7):
        probes = [socket.socket() for _ in range(count)]
        try:
            for offset, probe in enumerate(probes):
                probe.bind(("127.0.0.1", start + offset))
        except OSError:
            continue
        else:
            return start
        finally:
            for probe in probes:
                probe.close()
    raise AssertionError("no free ports")


Serve = Callable[..., Running]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the slow tests run for an hour, where tox.ini ends a test that hangs."""
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(3600))


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., Any]:
    """The function `eventually`, for files that cannot import it."""
    return eventually


@pytest.fixture(name="free_port")
def free_port_fixture() -> Callable[[int], int]:
    """The function `free_port`."""
    return free_port


@pytest.fixture(name="client")
def client_fixture() -> type[Client]:
    """The class `Client`."""
    return Client


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start a server: `serve(manager=None, role="worker", tcp=False, extra={...}, **configuration)`.

    Without a manager it gets a started embedded engine. `extra` are settings of ours, without their prefix.
    """
    stops: list[Callable[[], None]] = []

    def start(
        manager: Any = None,
        *,
        role: str = "worker",
        worker_id: int = 0,
        tcp: bool = False,
        extra: Mapping[str, Any] | None = None,
        **configuration: Any,
    ) -> Running:
        if manager is None:
            values = {**address(tmp_path, tcp), **engine_defaults(), **configuration}
            values["extra_config"] = {**values.get("extra_config", {}), **prefixed(extra or {})}
            manager = Manager(Configuration.from_mapping(values, {}), role=role, worker_id=worker_id)
            manager.start()
            stops.append(manager.stop)
        server = InternalAPIServer(manager)
        stops.append(server.stop)
        server.start()
        assert server.error is None, server.error
        return Running(server, manager)

    yield start
    for stop in reversed(stops):
        stop()


def address(folder: Path, tcp: bool) -> dict[str, Any]:
    """The keys that put a server on a free TCP port, or on a socket in `folder`."""
    if tcp:
        return {"internal_api_server_enabled": True, "internal_api_server_port_start": free_port(3)}
    prefix = str(folder / "api")
    assert len(prefix) < 95, "pytest's temporary folder is too deep for a Unix socket"
    return {"internal_api_server_enabled": True, "internal_api_server_socket_path_prefix": prefix}


def engine_defaults() -> dict[str, Any]:
    """A small embedded engine: chunks of 16 tokens, memory only."""
    return {"chunk_size": 16, "max_local_cpu_size": 0.05}


def prefixed(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of ours as they stand under `extra_config`."""
    return {f"internal_api_server_{name}": value for name, value in extra.items()}


@pytest.fixture
def service(serve: Serve) -> Running:
    """A worker with a small embedded engine, on a Unix socket."""
    return serve()


@pytest.fixture(autouse=True)
def nothing_left_behind(tmp_path: Path) -> Iterator[None]:
    """Fail a test that leaves a thread of ours or a socket file."""
    before = set(threading.enumerate())
    yield

    def left() -> list[str]:
        return [t.name for t in threading.enumerate() if t not in before and t.name.startswith(OURS)]

    end = time.monotonic() + 10
    while left() and time.monotonic() < end:
        time.sleep(0.01)
    assert not left(), f"threads left: {left()}"
    assert not [path for path in tmp_path.rglob("*") if path.is_socket()], "a socket file was left"
