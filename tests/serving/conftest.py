"""Servers on real sockets with small WSGI applications."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from lmcache_admin.serving.lanes import Route
from lmcache_admin.serving.server import HTTPServer, ServerOptions

CEILING = 20.0  # seconds after which something that should happen counts as not happening

View = Callable[[dict[str, Any]], bytes]


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Page:
    """A view and the lane that it declares."""

    view: View
    lane: str = "read"
    quick: bool = False


@dataclass
class Site:
    """A server, its pages, and clients for it."""

    server: HTTPServer
    pages: dict[str, Page]
    clients: list[threading.Thread] = field(default_factory=list)

    def connect(self, timeout: float = CEILING) -> socket.socket:
        if self.server.socket_path:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(timeout)
            sock.connect(self.server.socket_path)
            return sock
        return socket.create_connection(("127.0.0.1", self.server.port or 0), timeout)

    def get(self, path: str, method: str = "GET", body: bytes | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", timeout=CEILING)
        connection.sock = self.connect()
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def ask(self, path: str, times: int = 1) -> list[Answer]:
        """Ask in the background; the list fills as answers come."""
        answers: list[Answer] = []

        def client() -> None:
            answers.append(self.get(path))

        for _ in range(times):
            thread = threading.Thread(target=client, daemon=True)
            thread.start()
            self.clients.append(thread)
        return answers

    def raw(self, data: bytes) -> bytes:
        """Everything that the server sends until it closes, for exactly these bytes."""
        with self.connect() as sock:
            sock.sendall(data)
            return read_all(sock)

    def lane(self, name: str) -> Any:
        return self.server.lanes.counters()[name]


def read_all(sock: socket.socket) -> bytes:
    received = b""
    while True:
        try:
            part = sock.recv(65536)
        except ConnectionResetError:
            return received
        if not part:
            return received
        received += part


def wait_until(condition: Callable[[], object]) -> None:
    """Until something is true; a generous ceiling instead of a guessed time."""
    end = time.monotonic() + CEILING
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    return wait_until


@pytest.fixture
def until_closed() -> Callable[[socket.socket], bytes]:
    return read_all


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """What hanging views wait for; set at the end so that no thread stays."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def serve(release: threading.Event) -> Iterator[Callable[..., Site]]:
    """Start a server: `serve({path: Page}, option=...)`."""
    sites: list[Site] = []

    def start(pages: dict[str, Page], **options: Any) -> Site:
        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            page = pages.get(environ["PATH_INFO"])
            body = page.view(environ) if page else b"no such page"
            headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
            start_response("200 OK" if page else "404 Not Found", headers)
            return [body]

        def classify(method: str, path: str) -> Route:
            page = pages.get(path)
            if page is None:
                return Route("unmatched", "find a page", "light", quick=True)
            return Route(f"{method} {path}", f"ask for {path}", page.lane, page.quick)

        server = HTTPServer(application, classify, ServerOptions(**options))
        site = Site(server, pages)
        sites.append(site)
        server.start()
        return site

    yield start
    release.set()
    for site in sites:
        site.server.stop(1.0)
        for thread in site.clients:
            thread.join(CEILING)


@pytest.fixture
def page() -> type[Page]:
    return Page
