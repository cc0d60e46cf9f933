"""Descriptors: a host with thousands of open files, many connections, and none left at all."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest

from lmcache_admin.serving.options import connections_allowed


def echo(environ: Any) -> bytes:
    return environ["PATH_INFO"].encode()


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 6000 if hard == resource.RLIM_INFINITY else min(6000, hard)
    if wanted < 4096:
        pytest.skip("the hard limit for open files is too low")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_s41_server_serves_in_a_process_with_2000_open_files(serve, page, many_descriptors):
    with contextlib.ExitStack() as stack:
        for _ in range(2000):
            stack.enter_context(open(os.devnull))
        site = serve({"/quick": page(echo, quick=True), "/read": page(echo)})
        with site.connect() as sock:
            assert sock.fileno() > 1024
            sock.sendall(b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n")
            assert sock.recv(4096).endswith(b"/quick")
            sock.sendall(b"GET /read HTTP/1.1\r\nHost: x\r\n\r\n")
            assert sock.recv(4096).endswith(b"/read")


def test_s44_1000_idle_connections_disturb_nobody(serve, page, many_descriptors):
    with contextlib.ExitStack() as stack:
        site = serve({"/quick": page(echo, quick=True)})
        for _ in range(1000):
            stack.enter_context(site.connect())
        assert site.get("/quick").body == b"/quick"


def test_s44_200_half_headers_disturb_nobody(serve, page, many_descriptors):
    with contextlib.ExitStack() as stack:
        site = serve({"/quick": page(echo, quick=True)})
        for _ in range(200):
            stack.enter_context(site.connect()).sendall(b"GET /quick HTTP/1.1\r\nHost")
        assert site.get("/quick").body == b"/quick"


def test_s44_requests_are_answered_while_1000_connections_arrive(serve, page, until, many_descriptors):
    site = serve({"/quick": page(echo, quick=True), "/read": page(echo)})
    with contextlib.ExitStack() as stack:
        for number in range(1000):
            sock = stack.enter_context(site.connect())
            if number % 5 == 0:
                sock.sendall(b"GET /quick HTTP/1.1\r\nHost")
            if number % 50 == 0:
                assert site.get("/quick").body == b"/quick"
                assert site.get("/read").body == b"/read"
        until(lambda: len(site.server._loop.map) >= 1000)  # nobody was closed to make room


def test_s44_longest_idle_connection_makes_room_at_the_limit(serve, page, until_closed):
    site = serve({"/quick": page(echo, quick=True)}, connection_limit=5)
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(site.connect()) for _ in range(5)]
        for sock in idle:
            sock.sendall(b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n")
            assert sock.recv(4096).endswith(b"/quick")
        assert site.get("/quick").body == b"/quick"
        assert until_closed(idle[0]) == b""
        idle[4].sendall(b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle[4].recv(4096).endswith(b"/quick")


@pytest.mark.parametrize(("files", "allowed"), [(100, 16), (300, 44), (1000, 744), (6000, 2000)])
def test_s44_descriptors_of_the_host_bound_the_connections(many_descriptors, files, allowed):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    try:
        assert connections_allowed(2000) == allowed
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_s44_busy_connections_are_not_closed_for_new_ones(serve, page, release, until):
    def hang(_environ: Any) -> bytes:
        release.wait()
        return b"late"

    site = serve({"/hang": page(hang), "/quick": page(echo, quick=True)}, connection_limit=3, deadlines={"read": 60})
    held = site.ask("/hang", times=3)
    until(lambda: site.lane("read").busy == 3)
    waiting = site.ask("/quick")
    release.set()
    until(lambda: waiting and len(held) == 3)
    assert {answer.body for answer in held} == {b"late"}
    assert waiting[0].body == b"/quick"


SHORT_OF_DESCRIPTORS = """
    import logging, os, resource, socket, sys, time
    from lmcache_admin.serving.lanes import Route
    from lmcache_admin.serving.server import HTTPServer, ServerOptions

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    records = []
    class Keep(logging.Handler):
        def emit(self, record):
            records.append(record.getMessage())
    logging.getLogger("lmcache_admin.serving").addHandler(Keep())

    server = HTTPServer(application, lambda m, p: Route("r", "answer", "light", True), ServerOptions())
    server.start()

    def ask(timeout):
        with socket.create_connection(("127.0.0.1", server.port), timeout) as sock:
            sock.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
            return sock.recv(4096)[-2:]

    assert ask(20) == b"ok"
    client = socket.socket()
    client.settimeout(20)
    held = []
    while True:
        try:
            held.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            break
    client.connect(("127.0.0.1", server.port))
    client.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    assert client.recv(4096).endswith(b"ok"), "the spare descriptor serves"
    before, start = time.process_time(), time.monotonic()
    os.close(held.pop())
    other = socket.socket()
    other.settimeout(20)
    other.connect(("127.0.0.1", server.port))
    other.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    assert other.recv(4096).endswith(b"ok"), "the idle connection made room"
    time.sleep(1)
    assert len(records) <= 3, records
    for fd in held:
        os.close(fd)
    assert ask(20) == b"ok"
    server.stop()
    print("recovered", round(time.process_time() - before, 2))
"""


def test_s67_server_without_descriptors_serves_on_and_recovers():
    code = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
    code += textwrap.dedent(SHORT_OF_DESCRIPTORS)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("recovered"), done.stderr
