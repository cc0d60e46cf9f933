"""Connections that take too long are cut: by the monotonic clock, from the first byte, not the last."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any


def echo(environ: Any) -> bytes:
    return environ["wsgi.input"].read() or b"empty"


def drip(sock: socket.socket, data: bytes, every: float = 0.05) -> None:
    """Send byte after byte until the server has enough of it."""

    def send() -> None:
        for byte in data:
            try:
                sock.send(bytes([byte]))
            except OSError:
                return
            time.sleep(every)

    threading.Thread(target=send, daemon=True).start()


def test_s43_header_that_drips_is_cut(serve, page, until_closed):
    site = serve({"/": page(echo)}, header_seconds=0.5)
    with site.connect() as sock:
        drip(sock, b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 1000)
        assert until_closed(sock).startswith(b"HTTP/1.0 408 ")


def test_s43_body_that_drips_is_cut(serve, page, until_closed):
    site = serve({"/": page(echo)}, body_seconds=0.5)
    with site.connect() as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        drip(sock, b"x" * 1000)
        received = until_closed(sock)
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b"body was not complete within 0.5 s" in received


def test_s43_header_in_time_leaves_the_body_its_own_time(serve, page):
    site = serve({"/": page(echo)}, header_seconds=0.3, body_seconds=60)
    with site.connect() as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\na")
        time.sleep(1.5)  # longer than the header's limit and a round of the care for connections
        sock.sendall(b"b")
        assert sock.recv(4096).startswith(b"HTTP/1.1 200 OK")


def test_idle_connection_is_closed(serve, page, until_closed):
    site = serve({"/": page(echo)}, idle_seconds=0.3)
    with site.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        received = until_closed(sock)
    assert received.count(b"HTTP/1.1 200 OK") == 1


def test_connection_whose_call_takes_long_is_not_idle(serve, page, until):
    gate = threading.Event()

    def slow(_environ: Any) -> bytes:
        gate.wait(20)
        return b"slow"

    site = serve({"/": page(slow)}, idle_seconds=0.1, deadlines={"read": 60})
    answers = site.ask("/")
    time.sleep(1.5)  # several times the limit, and a round of the care for connections
    gate.set()
    until(lambda: answers)
    assert answers[0].body == b"slow"


def test_s46_client_that_does_not_take_its_answer_is_cut(serve, page, until, until_closed):
    site = serve({"/": page(lambda _: b"x" * 30_000_000)}, slow_reader_seconds=0.5, slow_reader_rate=1e9)
    with site.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: site.lane("read").served == 1)
        until(lambda: not site.server._loop.map)
        assert len(until_closed(sock)) < 30_000_000


def test_s43_pipelined_beginning_of_a_request_is_timed_from_when_it_is_asked_for(serve, page, release, until):
    def hang(_environ: Any) -> bytes:
        release.wait()
        return b"first"

    site = serve({"/": page(hang)}, header_seconds=0.5, deadlines={"read": 60})
    with site.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n")
        until(lambda: site.lane("read").busy == 1)
        time.sleep(1.5)  # longer than the header's limit and a round of the care for connections
        release.set()
        sock.sendall(b"Host: x\r\nConnection: close\r\n\r\n")
        received = b""
        while part := sock.recv(4096):
            received += part
    assert received.count(b"200 OK") == 2
