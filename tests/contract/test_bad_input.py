"""Requests that nobody means: refused before anything is asked of the host, on every route of the category.

The routes are those that are served, so that a new endpoint file is covered when it is there.
"""

from __future__ import annotations

import json
import re
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml

from lmcache_admin import create_app

SERVICE = create_app(None).extensions["lmcache_admin"]
ROUTES = [route for loaded in SERVICE.loader.files if loaded.category == "vllm" for route in loaded.routes]
NAMELESS = [route for route in ROUTES if "<" not in route]
DESCRIBED = SERVICE.openapi.document()["paths"]
BAD = yaml.safe_load((Path(__file__).parent / "bad_input.yaml").read_text())
MANY = 10_000
MIB = 1024 * 1024
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


@pytest.fixture
def host(serve, stand_in):
    """A server on the stand-in, and the check that nothing was asked of it."""
    manager, calls = stand_in()
    running = serve(manager)
    before = dict(vars(manager.config))

    def untouched(*reads):
        assert [call for call in calls if call not in reads] == []
        assert vars(manager.config) == before

    def refused(answer, *statuses, reads=()):
        assert answer.status in statuses, answer.text[:300]
        assert "Traceback" not in answer.text
        untouched(*reads)

    running.refused, running.untouched = refused, untouched
    return running


def sent(route, query="", tail="", name="LocalCPUBackend"):
    """Method and address of a route."""
    method, path = route.split(" ")
    return method, path.replace("<name>", name) + tail + (f"?{query}" if query else "")


def test_the_category_is_served():
    assert len(ROUTES) >= 36


def test_a_query_that_is_too_long_is_431(host):
    for route in ROUTES:
        host.refused(host.request(*sent(route, query=f"x={'y' * 70_000}")), 431)


@pytest.mark.parametrize("parameter", ["a", "locations=x", "tokens_mock=0,5", "slot_mapping=1"])
def test_ten_thousand_parameters_are_refused(host, parameter):
    for route in ROUTES:
        host.refused(host.request(*sent(route, query="&".join([parameter] * MANY))), 400, 431)


def test_a_path_that_is_too_long_is_431(host):
    for route in ROUTES:
        host.refused(host.request(*sent(route, tail="/" + "x" * 70_000)), 431)


@pytest.mark.parametrize("tail", ["/../../etc/passwd", "/%2e%2e/env", ";x=1", "%0d%0aX:y", "%00", "/" + "x" * 9000])
def test_what_only_looks_like_a_route_is_404(host, tail):
    for route in NAMELESS:
        if route != "POST /backends":  # what follows is a name there
            host.refused(host.request(*sent(route, tail=tail)), 404, 405)


@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "in chunks"])
def test_a_body_of_10_mb_is_413(host, chunked):
    slots = b"1," * (5 * MIB)
    for route in ROUTES:
        body = iter([slots[start : start + 65536] for start in range(0, len(slots), 65536)]) if chunked else slots
        with closing(host.connection()) as connection:
            with suppress(ConnectionError):  # the answer is there before the body is: nobody reads the rest
                connection.request(*sent(route), body, {"Content-Type": "application/json"})
            assert connection.getresponse().status == 413, route
    host.untouched()


def typed():
    """(Route, parameter) for each parameter that is a number or a switch."""
    for route in ROUTES:
        method, path = re.sub(r"<(\w+)>", r"{\1}", route).split(" ")
        for parameter in DESCRIBED[path][method.lower()].get("parameters", ()):
            kinds = parameter["schema"].get("type", ())  # one, or a list of them
            if parameter["in"] == "query" and ("integer" in kinds or "boolean" in kinds):
                yield route, parameter["name"]


@pytest.mark.parametrize("value", ["", "x", "1e3", "0x1f", "1.5", "9" * 5000, "5\0", "null", "--1"])
def test_a_value_of_another_type_is_422(host, value):
    assert len(list(typed())) >= 3
    for route, name in typed():
        host.refused(host.request(*sent(route, query=f"{name}={quote(value)}")), 422)


@pytest.mark.parametrize("route", ["POST /cache/store", "POST /cache/retrieve"])
@pytest.mark.parametrize("tokens", [*BAD["tokens"], f"0,{'9' * 5000}", f"-{'9' * 50_000},0"], ids=lambda t: t[:30])
def test_a_range_of_tokens_that_cannot_be_is_400(host, route, tokens):
    host.refused(host.request(*sent(route, query=f"tokens_mock={quote(tokens)}")), 400)


@pytest.mark.parametrize("slots", [*BAD["slots"], "[" * 20_000, "9" * 50_000], ids=lambda t: t[:30])
def test_a_list_of_slots_that_cannot_be_is_400(host, slots):
    host.refused(host.get(f"/cache/kvcache/check?chunk_size=4&slot_mapping={quote(slots)}"), 400)


@pytest.mark.parametrize("size", ["0", "-1", "-9223372036854775808"])
def test_a_chunk_size_that_cannot_be_is_400(host, size):
    host.refused(host.get(f"/cache/kvcache/check?slot_mapping=0,1&chunk_size={size}"), 400)


@pytest.mark.parametrize("name", [*BAD["names"], "n" * 50_000], ids=lambda t: repr(t[:30]))
def test_a_name_that_nothing_has_is_refused_and_changes_nothing(host, name):
    """The host is asked no more than which names there are."""
    reads = ("storage.list_backends", "storage.get_all_backend_names", "storage.is_backend_bypassed")

    def refused(answer, *statuses):
        host.refused(answer, *statuses, reads=reads)

    for route in ("PUT /bypass/add", "PUT /bypass/remove"):
        refused(host.request(*sent(route, query=f"backend_name={quote(name)}")), 400)
    for route in ("DELETE /backends/<name>", "POST /backends/<name>/recreate"):
        refused(host.request(*sent(route, name=quote(name, safe=""))), 404, 405)
    refused(host.post(f"/cache/kvcache/record_slot?enabled={quote(name)}"), 400)
    refused(host.post("/cache/load-fs-chunks", json.dumps({"config_path": name})), 400)


@pytest.mark.parametrize("name", ["\0", "LocalCPUBackend\0", "x\r\nSet-Cookie: y=z", "\x1b[31m", "\x7f"])
def test_a_control_character_in_a_location_is_422(host, name):
    """Other names that nothing has are, as in LMCache, locations with nothing in them."""
    host.refused(host.delete(f"/cache/clear?locations=LocalCPUBackend&locations={quote(name)}"), 422)


@pytest.mark.parametrize("content", NO_JSON)
@pytest.mark.parametrize("route", ["POST /conf", "DELETE /cache/clear", "POST /cache/load-fs-chunks"])
def test_a_body_that_is_no_json_object_is_refused(host, route, content):
    answer = host.request(*sent(route), NO_JSON[content], {"Content-Type": "application/json"})
    host.refused(answer, 400, 422)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
@pytest.mark.parametrize("route", ["DELETE /cache/clear", "POST /cache/load-fs-chunks"])
def test_a_body_of_another_type_is_422(host, route, kind):
    host.refused(host.request(*sent(route), b'{"config_path": "x.yaml"}', {"Content-Type": kind}), 422)


@pytest.mark.parametrize("body", BAD["load_fs_chunks"], ids=json.dumps)
def test_values_that_loading_cannot_use_are_422(host, body):
    host.refused(host.post("/cache/load-fs-chunks", json.dumps(body)), 422)


@pytest.mark.parametrize("body", BAD["conf"], ids=json.dumps)
def test_values_that_the_configuration_cannot_take_are_400(host, body):
    host.refused(host.post("/conf", json.dumps(body)), 400)
