"""Clients that do not read: their answers wait in files, no thread waits for a socket, who takes too little is cut."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import lmcache_admin

MIB = 1048576
GET = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"


def echo(environ: Any) -> bytes:
    return environ["PATH_INFO"].encode()


def nameless_files() -> int:
    """Bytes in open files that have no name any more."""
    size = 0
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if " (deleted)" in os.readlink(f"/proc/self/fd/{number}"):
                size += os.stat(f"/proc/self/fd/{number}").st_size
    return size


def test_s46_answer_above_1_mib_that_nobody_takes_waits_in_a_file(serve, page, until):
    site = serve({"/read": page(lambda _: b"x" * 30 * MIB), "/a": page(echo)})
    before = nameless_files()
    with site.connect() as sock:
        sock.sendall(GET % b"/read")
        until(lambda: site.lane("read").served == 1)
        assert nameless_files() - before > 20 * MIB
        assert site.get("/a").body == b"/a"
    until(lambda: nameless_files() == before)


def test_s46_answer_below_1_mib_waits_in_memory(serve, page, until):
    site = serve({"/read": page(lambda _: b"x" * (MIB // 2))})
    before = nameless_files()
    with site.connect() as sock:
        sock.sendall(GET % b"/read" * 20)
        until(lambda: site.lane("read").served >= 5)
        assert nameless_files() == before


def test_s46_64_readers_that_do_not_read_hold_no_thread(serve, page, until):
    body = b"x" * 2 * MIB
    site = serve({"/read": page(lambda _: body), "/other": page(echo), "/quick": page(echo, quick=True)})
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(site.connect()) for _ in range(64)]
        for sock in readers:
            sock.sendall(GET % b"/read" * 20)
        until(lambda: site.lane("read").served + site.lane("read").rejected >= 64)
        until(lambda: (site.lane("read").busy, site.lane("read").queued) == (0, 0))
        for path in ("/other", "/quick"):
            assert site.get(path).body == path.encode()


def test_s46_reader_that_takes_enough_is_not_cut(serve, page, until):
    size = 12 * MIB
    site = serve({"/read": page(lambda _: b"x" * size)}, slow_reader_seconds=0.5, slow_reader_rate=1024.0)
    with site.connect() as sock:
        sock.sendall(b"GET /read HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        until(lambda: site.lane("read").served == 1)
        received = 0
        while part := sock.recv(65536):
            received += len(part)
    assert received > size


NO_ROOM = """
import os, socket, subprocess, sys, tempfile, time
from lmcache_admin.serving.lanes import Route
from lmcache_admin.serving.server import HTTPServer, ServerOptions

subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", sys.argv[1]], check=True)
tempfile.tempdir = sys.argv[1]

def application(environ, start_response):
    body = b"x" * 30_000_000 if environ["PATH_INFO"] == "/large" else b"ok"
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

server = HTTPServer(application, lambda method, path: Route(path, "answer", "read", path == "/quick"), ServerOptions())
server.start()

def ask(request):
    with socket.create_connection(("127.0.0.1", server.port), 30) as sock:
        sock.sendall(request)
        received = b""
        while True:
            try:
                part = sock.recv(1 << 20)
            except ConnectionResetError:
                return received
            if not part:
                return received
            received += part

GET = b"GET %b HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n"
BODY = b"POST /a HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 1000000\\r\\n\\r\\n" + b"x" * 1_000_000
for _ in range(3):
    large = ask(GET % b"/large")
    assert len(large) < 30_000_000, len(large)
    assert b"200 OK" not in ask(BODY)
    for path in (b"/a", b"/quick"):
        assert ask(GET % path).endswith(b"ok")
assert server.lanes.counters()["read"].threads == 8
server.stop()
print("served")
"""


def test_s46_s63_disk_without_room_for_an_answer_costs_that_answer_and_no_other(tmp_path):
    command = ["unshare", "-Urm", sys.executable, "-c", textwrap.dedent(NO_ROOM), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(lmcache_admin.__file__).parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "served\n", done.stderr[-3000:]


@pytest.mark.parametrize("quick", [True, False])
def test_s46_pipelined_requests_wait_until_the_answer_before_is_taken(serve, page, until, quick):
    site = serve({"/read": page(lambda _: b"x" * 8 * MIB, quick=quick)})
    with site.connect() as sock:
        sock.sendall(GET % b"/read" * 50)
        until(lambda: site.lane("read").served == 1)
        assert nameless_files() < 20 * MIB  # one answer, not fifty
        received = 0
        while received < 16 * MIB:
            received += len(sock.recv(1 << 20))
        until(lambda: site.lane("read").served >= 2)
