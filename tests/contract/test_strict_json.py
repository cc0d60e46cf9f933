"""JSON within limits, on every route that reads it: what readers disagree about is refused, nothing is done (S49)."""

from __future__ import annotations

import json

import pytest

from lmcache_admin import create_app
from lmcache_admin.strict_json import strict_json

DESCRIBED = create_app(None).extensions["lmcache_admin"].openapi.document()["paths"]
#: Every route that reads JSON, by its own description.
ROUTES = [
    f"{method.upper()} {path}"
    for path, operations in DESCRIBED.items()
    for method, operation in operations.items()
    if method in ("get", "put", "post", "delete", "patch")
    and "application/json" in operation.get("requestBody", {}).get("content", {})
]
MANY = 100_000
#: Contents of an object, each of which has one fault.
FAULTS = {
    "65 levels": '"a": ' + "[" * 64 + "]" * 64,
    "100,000 lists": '"a": ' + "[" * MANY + "]" * MANY,
    "100,000 objects": '"a": ' + '{"a":' * MANY + "1" + "}" * MANY,
    "an open end": '"a": ' + "[" * MANY,
    "65 bits": f'"a": {2**64}',
    "-64 bits": f'"a": {-(2**63) - 1}',
    "100,000 digits": '"a": ' + "9" * MANY,
    "a key twice": '"a": 1, "a": 1',
    "a key twice, deep": '"a": {"b": [{"c": 1, "c": 2}]}',
    "a key twice, escaped": '"a": 1, "\\u0061": 2',
    "a key twice among 50,000": ",".join(f'"k{n}":0' for n in range(50_000)) + ',"k49999":0',
    "a lone surrogate": '"a": "\\ud800"',
    "a lone surrogate as key": '"\\udcff": 1',
    "surrogates the wrong way round": '"a": "\\ude00\\ud83d"',
    "a NUL in a key": '"a\\u0000": 1',
    "a NUL in a deep key": '"a": {"b\\u0000": 1}',
    "a control character": '"a": "\x01"',
    "a comment": '"a": 1 // one',
    "a comma too many": '"a": 1,',
    "single quotes": "'a': 1",
    "no colon": '"a" 1',
}
#: Bodies that are no UTF-8.
BYTES = {
    "a byte that is no UTF-8": b'{"a": "\xff"}',
    "a surrogate in UTF-8": b'{"a": "\xed\xa0\x80"}',
    "an overlong slash": b'{"a": "\xc0\xaf"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "UTF-32": '{"a": 1}'.encode("utf-32"),
    "a NUL behind": b'{"a": 1}\x00',
}
NOT_FINITE = {"NaN": '"a": NaN', "Infinity": '"a": Infinity', "-Infinity": '"a": [-Infinity]', "1e400": '"a": 1e400'}
CASES = {name: ("{" + text + "}").encode("utf-8", "surrogatepass") for name, text in FAULTS.items()} | BYTES


@pytest.fixture
def host(serve, stand_in):
    """A server on the stand-in, and what was asked of it."""
    manager, calls = stand_in()
    running = serve(manager)
    running.calls = calls
    return running


def test_s49_routes_that_read_json_are_found():
    assert {"POST /conf", "DELETE /cache/clear", "POST /cache/load-fs-chunks", "POST /session"} <= set(ROUTES)


@pytest.mark.parametrize("route", ROUTES)
def test_s49_what_readers_disagree_about_is_refused_and_nothing_is_done(host, route):
    method, path = route.split(" ")
    for name, body in CASES.items():
        answer = host.request(method, path, body, {"Content-Type": "application/json"})
        assert answer.status in (400, 422), (name, answer.status, answer.text[:300])
        assert len(answer.body) < 2000, name
        assert "error" in answer.json() or "detail" in answer.json(), name
    assert host.calls == []


@pytest.mark.parametrize("route", [route for route in ROUTES if route != "POST /conf"])
@pytest.mark.parametrize("name", NOT_FINITE)
def test_s49_nan_is_refused(host, route, name):
    method, path = route.split(" ")
    body = "{" + NOT_FINITE[name] + "}"
    assert host.request(method, path, body, {"Content-Type": "application/json"}).status in (400, 422)
    assert host.calls == []


def test_s49_nan_is_the_error_of_its_key_in_a_configuration(service):
    answer = service.post("/conf", '{"min_retrieve_tokens": 7, "chunk_size": NaN, "max_local_cpu_size": Infinity}')
    assert answer.status == 200
    assert set(answer.json()["errors"]) == {"chunk_size", "max_local_cpu_size"}
    assert service.get("/conf?names=min_retrieve_tokens").json() == {"min_retrieve_tokens": 7}


def test_s49_the_limits_themselves_are_allowed():
    value = {"big": 2**64 - 1, "small": -(2**63), "smile": "\U0001f600", "nul in a text": "\0", "deep": []}
    for _ in range(62):
        value["deep"] = [value["deep"]]
    assert strict_json(json.dumps(value).encode()) == value


def test_s49_a_long_key_that_is_given_twice_is_not_told_whole():
    key = "k" * 100_000
    with pytest.raises(ValueError, match="is given twice") as raised:
        strict_json(f'{{"{key}": 1, "{key}": 2}}'.encode())
    assert len(str(raised.value)) < 200
