"""The protocol: keep-alive, pipelining, HEAD, HTTP/1.0, 100-continue, large answers, JSON errors."""

from __future__ import annotations

import http.client
import json
import threading
from typing import Any

import pytest


def echo(environ: Any) -> bytes:
    return environ["wsgi.input"].read() or environ["PATH_INFO"].encode()


@pytest.fixture(params=[True, False], ids=["loop", "thread"])
def site(request, serve, page):
    """Each behaviour holds on the loop's thread and on a lane's thread."""
    view = page(echo, quick=request.param)
    return serve({"/a": view, "/b": view, "/c": view})


def test_connection_is_kept_for_further_requests(site):
    connection = http.client.HTTPConnection("127.0.0.1", site.server.port)
    for path in ("/a", "/b", "/c"):
        connection.request("GET", path)
        assert connection.getresponse().read() == path.encode()
    connection.close()


def test_pipelined_requests_are_answered_in_their_order(site):
    sent = b"".join(b"GET /%c HTTP/1.1\r\nHost: x\r\n\r\n" % letter for letter in b"abcabc")
    received = site.raw(sent + b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    bodies = [part.split(b"\r\n\r\n", 1)[1] for part in received.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [b"/a", b"/b", b"/c", b"/a", b"/b", b"/c", b"/a"]


def test_s46_pipelined_requests_of_one_connection_hold_one_place_in_a_lane(serve, page, release, until):
    def hang(_environ: Any) -> bytes:
        release.wait()
        return b"late"

    site = serve({"/hang": page(hang)}, deadlines={"read": 60})
    with site.connect() as sock:
        sock.sendall(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        until(lambda: site.lane("read").busy == 1)
        assert site.lane("read").queued == 0
        release.set()
        received = b""
        while received.count(b"late") < 20:
            received += sock.recv(65536)
    until(lambda: site.lane("read").served == 20)


def test_head_has_the_header_of_get_and_no_body(site):
    received = site.raw(b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    head, _, rest = received.partition(b"\r\n\r\n")
    assert b"Content-Length: 2" in head
    assert rest.startswith(b"HTTP/1.1 200 OK")


def test_http_1_0_closes_unless_asked_to_keep(site):
    assert site.raw(b"GET /a HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\n/a")
    kept = site.raw(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /b HTTP/1.0\r\n\r\n")
    assert kept.count(b"200 OK") == 2
    assert b"connection: keep-alive" in kept.lower()


def test_expect_100_continue_is_answered_before_the_body_comes(site):
    with site.connect() as sock:
        sock.sendall(
            b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
        )
        assert sock.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"body")
        received = b""
        while part := sock.recv(4096):
            received += part
    assert received.startswith(b"HTTP/1.1 200 OK")
    assert received.endswith(b"body")


def test_expect_without_a_body_is_an_ordinary_request(site):
    received = site.raw(b"GET /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 200 OK")


def test_chunked_body_reaches_the_application(site):
    received = site.raw(
        b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    assert received.endswith(b"abcde")


def test_request_that_comes_byte_by_byte_is_answered(site):
    with site.connect() as sock:
        for byte in b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n":
            sock.send(bytes([byte]))
        received = b""
        while part := sock.recv(4096):
            received += part
    assert received.endswith(b"/a")


def test_large_answer_arrives_whole(serve, page):
    body = bytes(range(256)) * 20_000
    site = serve({"/quick": page(lambda _: body, quick=True), "/read": page(lambda _: body)})
    assert site.get("/quick").body == body
    assert site.get("/read").body == body


def test_s46_client_that_does_not_read_holds_no_thread(serve, page, until):
    body = b"x" * 30_000_000
    site = serve({"/read": page(lambda _: body), "/quick": page(echo, quick=True)}, lane_threads={"read": 1})
    with site.connect() as sock:
        sock.sendall(b"GET /read HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        until(lambda: site.lane("read").served == 1)
        assert site.get("/quick").body == b"/quick"
        received = 0
        while part := sock.recv(1 << 20):
            received += len(part)
    assert received > len(body)


def test_streamed_answer_is_chunked_in_1_1(serve, page):
    site = serve({"/a": page(echo)})
    site.server.stop()

    def stream(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"one"
        yield b""
        yield b"two"

    site.server = type(site.server)(stream, site.server._classify, site.server.options)
    site.server.start()
    answer = site.get("/")
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert answer.body == b"onetwo"
    assert "Connection" not in answer.headers
    assert site.get("/", method="HEAD").body == b""


def test_client_that_leaves_during_its_call_harms_nobody(serve, page, release, until):
    entered = threading.Event()

    def hang(_environ: Any) -> bytes:
        entered.set()
        release.wait()
        return b"x" * 1_000_000

    site = serve({"/hang": page(hang), "/quick": page(echo, quick=True)}, deadlines={"read": 60})
    sock = site.connect()
    sock.sendall(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
    assert entered.wait(20)
    sock.close()
    release.set()
    until(lambda: site.lane("read").busy == 0)
    assert site.get("/quick").body == b"/quick"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n", 413),
        (b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\nExpect: 100-continue\r\n\r\n", 413),
        (b"GET /a HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /a HTTP/1.1\r\nHost: x\r\n" + b"X: 1\r\n" * 201 + b"\r\n", 431),
        (b"GET /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"TRACE /a HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n", 405),
    ],
)
def test_s42_s50_protocol_error_is_json_and_closes(site, sent, status):
    received = site.raw(sent)
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.%d %d " % (head[7] - 48, status))
    assert b"application/json" in head
    assert set(json.loads(body)) == {"error", "message"}


def test_s42_200_header_lines_are_served(site):
    received = site.raw(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + b"X: 1\r\n" * 198 + b"\r\n")
    assert received.startswith(b"HTTP/1.1 200 OK")


def test_s42_body_of_exactly_the_limit_is_served(serve, page):
    site = serve({"/a": page(lambda environ: str(len(environ["wsgi.input"].read())).encode())})
    assert site.get("/a", "POST", b"x" * 1_048_576).body == b"1048576"
    assert site.get("/a", "POST", b"x" * 1_048_577).status == 413


def test_environment_tells_arrival_route_and_socket(serve, page):
    seen: list[Any] = []

    def view(environ: Any) -> bytes:
        seen.append(environ)
        return environ["lmcache_admin.socket"].getpeername()[0].encode()

    site = serve({"/a": page(view)})
    assert site.get("/a").body == b"127.0.0.1"
    assert seen[0]["lmcache_admin.route"].name == "GET /a"
    assert isinstance(seen[0]["lmcache_admin.arrived"], float)


def test_head_of_an_answer_says_close_once(site):
    received = site.raw(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert received.count(b"Connection:") == 1
    assert received.count(b"Date:") == 1


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_answer_without_a_body_keeps_the_connection(serve, page, status):
    site = serve({})
    site.server.stop()

    def bare(_environ: Any, start_response: Any) -> list[bytes]:
        start_response(status, [("ETag", "x")])
        return []

    site.server = type(site.server)(bare, site.server._classify, site.server.options)
    site.server.start()
    connection = http.client.HTTPConnection("127.0.0.1", site.server.port)
    for _ in range(2):
        connection.request("GET", "/")
        response = connection.getresponse()
        assert response.read() == b""
        assert not response.will_close
    connection.close()


def test_request_sent_while_the_answer_before_is_not_yet_taken_is_answered(serve, page, until):
    large = b"x" * 10_000_000
    site = serve({"/large": page(lambda _: large), "/quick": page(lambda _: large, quick=True), "/a": page(echo)})
    for path, served in ((b"/large", 1), (b"/quick", 3)):
        with site.connect() as sock:
            sock.sendall(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
            until(lambda served=served: site.lane("read").served == served)
            sock.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            received = b""
            while part := sock.recv(1 << 20):
                received += part
        assert received.endswith(b"\r\n\r\n/a")
        assert len(received) > len(large)


def test_requests_that_come_faster_than_answers_are_all_answered(serve, page):
    site = serve({"/read": page(echo), "/quick": page(echo, quick=True)})
    with site.connect() as sock:

        def send() -> None:
            for number in range(600):
                path = (b"/quick", b"/read")[number % 2]
                sock.sendall(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
            sock.sendall(b"GET /read HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

        sender = threading.Thread(target=send)
        sender.start()
        received = b""
        while part := sock.recv(1 << 20):
            received += part
        sender.join()
    bodies = [part.split(b"\r\n\r\n", 1)[1] for part in received.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [b"/quick", b"/read"] * 300 + [b"/read"]
