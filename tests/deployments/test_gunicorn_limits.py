"""Under gunicorn, by the settings in conf/: large heads and ambiguous requests are refused (S42, S50)."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from ambiguous_requests import AMBIGUOUS

from lmcache_admin.shipped import shipped_folder

NEXT = b"GET /lmc_version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
#: The answer comes before the body is looked at; then the connection ends.
IN_THE_BODY = ("bad chunk size", "chunk without end", "chunk size with plus")
#: What gunicorn lets through and the application refuses: the connection goes on, where each request begins is clear.
KEPT = ("no host", "absolute form, other host")
#: What the gate judges, and on a Unix socket for browsers only.
NAMES = ("empty host", "host with blank", "host with path", "host with user")


@pytest.fixture(scope="module")
def gunicorn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[bytes], bytes]]:
    """Everything that it sends until it closes, for these bytes."""
    folder = tmp_path_factory.mktemp("gunicorn")
    (folder / "lmcache.yaml").write_text("chunk_size: 16\nmax_local_cpu_size: 0.01\n")
    path = str(folder / "s")
    conf = shipped_folder("conf") / "gunicorn.conf.py"
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", conf, "-b", f"unix:{path}", "lmcache_admin.wsgi:application"],
        env={**os.environ, "LMCACHE_CONFIG_FILE": str(folder / "lmcache.yaml")},
        cwd=folder,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if b"Booting worker" in line:
            break

    def send(data: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(60)
            sock.connect(path)
            with contextlib.suppress(BrokenPipeError):  # the answer is there before the body is: nobody reads the rest
                sock.sendall(data)
            received = b""
            while True:
                try:
                    part = sock.recv(65536)
                except ConnectionResetError:
                    return received
                if not part:
                    return received
                received += part

    yield send
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    process.stderr.close()


def statuses(received: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/1\.\d (\d\d\d) ", received)]


def ours(data: bytes) -> bytes:
    """The request for a route of ours, to a name of ours."""
    return data.replace(b"/first", b"/version").replace(b"Host: x", b"Host: localhost")


@pytest.mark.parametrize("name", [name for name in AMBIGUOUS if name not in (*KEPT, *NAMES)])
def test_s50_nothing_after_an_ambiguous_request_is_served(gunicorn, name):
    found = statuses(gunicorn(ours(AMBIGUOUS[name]) + NEXT))
    if name in IN_THE_BODY:
        found = found[1:]
    assert found == [400]


@pytest.mark.parametrize("name", KEPT)
def test_s50_request_without_its_host_is_refused(gunicorn, name):
    assert statuses(gunicorn(ours(AMBIGUOUS[name]) + NEXT)) == [400, 200]


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
def test_s50_trace_and_connect_are_405(gunicorn, method):
    target = "localhost:80" if method == "CONNECT" else "/version"
    sent = f"{method} {target} HTTP/1.1\r\nHost: localhost:80\r\nConnection: close\r\n\r\n"
    assert statuses(gunicorn(sent.encode())) == [405]


@pytest.mark.parametrize("lines", [b"X: " + b"x" * 70_000 + b"\r\n", b"X: 1\r\n" * 201])
def test_s42_large_head_is_431(gunicorn, lines):
    assert statuses(gunicorn(b"GET /version HTTP/1.1\r\nHost: localhost\r\n" + lines + b"\r\n")) == [431]


def test_s42_large_body_is_413(gunicorn):
    head = b"POST /conf HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1048577\r\n"
    assert statuses(gunicorn(head + b"Connection: close\r\n\r\n" + b" " * 1_048_577)) == [413]
