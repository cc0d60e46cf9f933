"""Requests that nobody means: refused before anything is asked of the host, on every route of the category.

The routes are those that are served, so that a new endpoint file is covered when it is there.
"""

from __future__ import annotations

import re
from contextlib import closing, suppress
from urllib.parse import quote

import pytest

from lmcache_admin import create_app

SERVICE = create_app(None).extensions["lmcache_admin"]
ROUTES = [route for loaded in SERVICE.loader.files if loaded.category == "vllm" for route in loaded.routes]
DESCRIBED = SERVICE.openapi.document()["paths"]
MANY = 10_000
MIB = 1024 * 1024
#: Names that belong to no backend, file or key, and that somebody could take for more than a name.
NAMES = ["../../etc/passwd", "a/b", "\0", "LocalCPUBackend\0", "x\r\nSet-Cookie: y=z", "\x1b[31m", "n" * 50_000]
NO_JSON = {
    "text": b"nonsense",
    "half an object": b'{"a": ',
    "a list": b"[]",
    "10,000 lists": b"[" * MANY + b"]" * MANY,
    "10,000 objects": b'{"a":' * MANY + b"1" + b"}" * MANY,
    "a key twice": b'{"a": 1, "a": 2}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "broken UTF-8": b'{"a": "\xff"}',
    "a lone surrogate": b'{"a": "\\ud800"}',
    "5,000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "1 MiB of text": b"a" * MIB,
    "1 MiB of brackets": b"[" * MIB,
}


def filled(route: str) -> tuple[str, str]:
    method, path = route.split(" ", 1)
    return method, re.sub(r"<\w+>", "LocalCPUBackend", path)


@pytest.fixture
def host(serve, stand_in):
    """A server on the stand-in, and the check that nothing was asked of it."""
    manager, calls = stand_in()
    running = serve(manager)
    before = dict(vars(manager.config))

    def untouched():
        assert calls == []
        assert vars(manager.config) == before

    def refused(answer, *statuses):
        assert answer.status in statuses, answer.text[:300]
        assert "Traceback" not in answer.text
        untouched()

    running.refused, running.untouched = refused, untouched
    return running


def test_the_category_is_served():
    assert len(ROUTES) >= 16


@pytest.mark.parametrize("route", ROUTES)
def test_a_query_that_is_too_long_is_431(host, route):
    method, path = filled(route)
    host.refused(host.request(method, f"{path}?x={'y' * 70_000}"), 431)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("parameter", ["a", "locations=x", "tokens_mock=0,5"])
def test_ten_thousand_parameters_are_refused(host, route, parameter):
    method, path = filled(route)
    host.refused(host.request(method, f"{path}?{'&'.join([parameter] * MANY)}"), 400, 431)


@pytest.mark.parametrize("route", ROUTES)
def test_a_path_that_is_too_long_is_431(host, route):
    method, path = filled(route)
    host.refused(host.request(method, f"{path}/{'x' * 70_000}"), 431)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("tail", ["/../../etc/passwd", "/%2e%2e/env", ";x=1", "%0d%0aX-Y:z", "%2F..", "/" + "x" * 9000])
def test_what_only_looks_like_a_route_is_404(host, route, tail):
    method, path = filled(re.sub(r"/<\w+>", "", route, count=1))
    host.refused(host.request(method, path + tail), 404, 405)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "in chunks"])
def test_a_body_of_10_mb_is_413(host, route, chunked):
    method, path = filled(route)
    slots = b"1," * (5 * MIB)
    body = iter([slots[start : start + 65536] for start in range(0, len(slots), 65536)]) if chunked else slots
    connection = host.connection()
    with closing(connection):
        with suppress(BrokenPipeError):  # the answer is there before the body is: nobody reads the rest
            connection.request(method, path, body, {"Content-Type": "application/json"})
        assert connection.getresponse().status == 413
    host.untouched()


TYPED = [
    (route, parameter["name"], parameter["schema"]["type"])
    for route in ROUTES
    for parameter in DESCRIBED[re.sub(r"<(\w+)>", r"{\1}", route.split(" ", 1)[1])][route.split(" ", 1)[0].lower()].get(
        "parameters", ()
    )
    if parameter["in"] == "query" and parameter.get("schema", {}).get("type") in ("integer", "boolean")
]


@pytest.mark.parametrize(("route", "name", "kind"), TYPED)
@pytest.mark.parametrize("value", ["", "x", "1e3", "0x1f", "1.5", "9" * 5000, "5\0", "null", "--1"])
def test_a_value_of_another_type_is_422(host, route, name, kind, value):
    method, path = filled(route)
    host.refused(host.request(method, f"{path}?{name}={quote(value)}"), 422)


RANGES = [
    "0,2147483649",
    "-9223372036854775808,9223372036854775807",
    f"0,{10**30}",
    f"0,{'9' * 5000}",
    f"-{'9' * 50_000},0",
    "0,1000001",
    "5,5",
    "0,5\0",
    "0,5,9",
    "0,1e3",
    "\x1b,5",
]


@pytest.mark.parametrize("word", ["store", "retrieve"])
@pytest.mark.parametrize("tokens", RANGES, ids=lambda text: repr(text[:30]))
def test_a_range_of_tokens_that_cannot_be_is_400(host, word, tokens):
    host.refused(host.post(f"/cache/{word}?tokens_mock={quote(tokens)}"), 400)


@pytest.mark.parametrize("content", NO_JSON)
@pytest.mark.parametrize("route", ["POST /conf", "DELETE /cache/clear", "POST /cache/load-fs-chunks"])
def test_a_body_that_is_no_json_object_is_refused(host, route, content):
    if route not in ROUTES:
        pytest.skip(f"{route} is not served")
    method, path = filled(route)
    answer = host.request(method, path, NO_JSON[content], {"Content-Type": "application/json"})
    host.refused(answer, 400, 422)
