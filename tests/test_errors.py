"""Whatever goes wrong is an answer that says what was wrong; nothing is changed and the process goes on."""

import json
import socket

import pytest

from lmcache_admin.engine import Configuration

ROUTES = {
    "clear": ("DELETE", "/cache/clear", "clear cache"),
    "store": ("POST", "/cache/store?tokens_mock=0,16", "store cache"),
    "retrieve": ("POST", "/cache/retrieve?tokens_mock=0,16", "retrieve cache"),
    "freeze": ("PUT", "/freeze/enable", "enable freeze mode"),
    "is_frozen": ("GET", "/freeze/status", "get freeze mode status"),
    "set_hot_cache": ("PUT", "/hot_cache/disable", "disable hot cache"),
    "is_hot_cache_enabled": ("GET", "/hot_cache/status", "get hot cache status"),
    "get_inference_info": ("GET", "/inference_info", "get inference info"),
    "get_inference_version": ("GET", "/inference_version", "get inference version"),
}


class Unprintable:
    """A value whose printing fails."""

    def __repr__(self):
        raise RuntimeError("no text for this")


class UnprintableError(Exception):
    """An exception whose text fails."""

    def __str__(self):
        raise RuntimeError("no text for this")


class Host:
    """Manager and engine in one, each of whose methods does what the test says."""

    def __init__(self, prefix, act):
        values = {"internal_api_server_enabled": True, "internal_api_server_socket_path_prefix": prefix}
        self.config = Configuration.from_mapping(values, {})
        self.lmcache_engine = self.storage_manager = self
        self.lmcache_engine_metadata = self.metadata = self.gpu_connector = None
        self.kv_caches = {}
        for name in ROUTES:
            setattr(self, name, lambda *_, **__: act())

    def is_healthy(self):
        return True


@pytest.fixture
def host(serve, tmp_path):
    """Serve a host whose methods do `act`."""

    def start(act):
        return serve(Host(str(tmp_path / "api"), act))

    return start


def raiser(error):
    def act():
        raise error

    return act


def cycle():
    circle = {}
    circle["again"] = circle
    return circle


@pytest.mark.parametrize("name", sorted(ROUTES))
def test_s71_method_that_raises_is_500_with_operation_and_message(host, name):
    running = host(raiser(ValueError("the pool is gone")))
    method, path, operation = ROUTES[name]
    answer = running.request(method, path)
    assert (answer.status, answer.type) == (500, "application/json")
    body = answer.json()
    assert (body["error"], body["message"]) == (f"Failed to {operation}", "the pool is gone")
    assert ("exception_type" in body) is (name in ("store", "retrieve"))
    assert running.get("/healthz").status == 200


@pytest.mark.parametrize("name", ["store", "retrieve"])
def test_exception_without_a_text_is_named_by_its_type(host, name):
    method, path, operation = ROUTES[name]
    assert host(raiser(AssertionError())).request(method, path).json() == {
        "error": f"Failed to {operation}",
        "message": "Exception type: AssertionError",
        "exception_type": "AssertionError",
    }


@pytest.mark.parametrize("error", [UnprintableError(), MemoryError(), RecursionError("deep"), StopIteration("x")])
def test_s71_odd_exceptions_are_500_like_others(host, error):
    answer = host(raiser(error)).put("/freeze/enable")
    assert (answer.status, answer.json()["error"]) == (500, "Failed to enable freeze mode")


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
@pytest.mark.parametrize("name", ["is_frozen", "clear", "get_inference_info"])
def test_s52_exception_that_would_end_the_process_ends_its_request(host, error, name):
    running = host(raiser(error))
    method, path, _ = ROUTES[name]
    answer = running.request(method, path)
    assert (answer.status, answer.type) == (500, "application/json")
    assert type(error).__name__ in answer.json()["message"]
    assert running.get("/healthz").status == 200
    assert running.request(method, path).status == 500


@pytest.mark.parametrize("junk", [None, b"bytes", "text", 1.5, float("nan"), [True], Unprintable(), cycle()])
@pytest.mark.parametrize("name", ["is_frozen", "is_hot_cache_enabled", "clear"])
def test_s71_junk_from_the_engine_is_502_that_says_what_was_expected(host, name, junk):
    running = host(lambda: junk)
    method, path, operation = ROUTES[name]
    answer = running.request(method, path)
    assert (answer.status, answer.type) == (502, "application/json")
    assert answer.json()["error"] == f"Failed to {operation}"
    assert f"{name}() answered a {type(junk).__name__}, expected" in answer.json()["message"]
    assert running.get("/healthz").status == 200


@pytest.mark.parametrize("junk", [None, b"bytes", 5, "text", {}])
def test_mask_that_is_none_is_502(host, junk):
    answer = host(lambda: junk).post("/cache/retrieve?tokens_mock=0,16")
    assert (answer.status, answer.json()["error"]) == (502, "Failed to retrieve cache")


@pytest.mark.parametrize("junk", [None, b"bytes", float("nan"), {"x": Unprintable()}, cycle(), [b"x"]])
@pytest.mark.parametrize("path", ["/inference_info", "/inference_version"])
def test_s71_junk_about_inference_leaves_as_json_or_as_a_failure(host, path, junk):
    running = host(lambda: junk)
    answer = running.get(path)
    assert answer.status in (200, 500, 502)
    assert answer.type == "application/json"
    json.loads(answer.body)
    assert running.get("/healthz").status == 200


def test_store_counts_what_was_asked_whatever_the_engine_answers(host):
    answer = host(lambda: Unprintable()).post("/cache/store?tokens_mock=0,16")
    assert (answer.status, answer.json()) == (200, {"status": "success", "num_tokens": 16})


def test_unknown_path_is_404_with_the_path_and_where_routes_are_listed(service):
    answer = service.get("/freze/status")
    assert (answer.status, answer.type) == (404, "application/json")
    assert answer.json() == {
        "error": "Not Found",
        "message": "No route '/freze/status'; GET /blueprints lists the routes.",
        "detail": "Not Found",
    }


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/conf", "GET, POST"),
        ("HEAD", "/env", "GET"),
        ("OPTIONS", "/env", "GET"),
        ("GET", "/cache/clear", "DELETE"),
    ],
)
def test_wrong_method_is_405_with_what_is_allowed(service, method, path, allowed):
    answer = service.request(method, path)
    assert (answer.status, answer.type) == (405, "application/json")
    assert sorted(answer.headers["Allow"].split(", ")) == sorted(allowed.split(", "))
    if method == "HEAD":
        assert answer.body == b""
    else:
        message = f"{method} is not allowed for '{path}'; allowed: {allowed}."
        assert answer.json() == {"error": "Method Not Allowed", "message": message, "detail": "Method Not Allowed"}


def test_bad_parameter_is_422_with_place_value_and_what_is_allowed(service):
    answer = service.get("/periodic-threads?running_only=maybe&active_only=2")
    assert (answer.status, answer.type) == (422, "application/json")
    body = answer.json()
    assert set(body) >= {"error", "message", "errors"}
    assert set(body["errors"]["query"]) == {"running_only", "active_only"}
    assert "'maybe' is not a boolean; allowed: true, false" in body["errors"]["query"]["running_only"][0]


def raw(running, data):
    """Send bytes and read until the server closes."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(running.target)
        connection.sendall(data)
        received = b""
        while part := connection.recv(65536):
            received += part
        return received


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /conf HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\r\n",
        b"POST /conf HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"10000\r\n" + (b" " * 65536 + b"\r\n10000\r\n") * 17,
    ],
)  # fmt: skip
def test_s42_body_above_the_limit_is_413_and_nothing_is_set(service, sent):
    head, _, body = raw(service, sent).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b"application/json" in head
    assert set(json.loads(body)) >= {"error", "message"}
    assert service.get("/conf?names=chunk_size").json() == {"chunk_size": 16}


def test_what_is_not_http_is_400_and_the_connection_closed(service):
    head, _, body = raw(service, b"\x16\x03\x01 this is no HTTP\r\n\r\n").partition(b"\r\n\r\n")
    assert head.split(b" ", 2)[1] == b"400"
    assert set(json.loads(body)) >= {"error", "message"}
    assert service.get("/healthz").status == 200


def test_manager_that_is_none_is_503_where_it_is_needed():
    from lmcache_admin import create_app

    app = create_app(None)  # no manager means no server of ours: a WSGI server calls it
    client = app.test_client()
    assert client.get("/version").status_code == 200
    assert client.get("/conf").get_data(as_text=True).startswith("{")
    unavailable = client.get("/inference_info")
    assert (unavailable.status_code, unavailable.json) == (
        503,
        {"error": "LMCache adapter unavailable", "message": "LMCache adapter not configured."},
    )
    assert client.get("/freeze/status").json["message"] == "LMCache engine not configured."


@pytest.mark.parametrize("path", ["/conf%00", "/%FF%FE", "/conf/%2e%2e/env", "/" + "a" * 8000, "/conf?names=%FF"])
def test_odd_bytes_in_path_and_query_are_never_500(service, path):
    assert service.get(path).status in (200, 400, 404, 414, 431)


@pytest.mark.parametrize(
    "sent",
    [
        b"TRACE /conf HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"no HTTP\r\n\r\n",
        b"GET /conf HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ],
)
def test_every_answer_has_the_headers_that_keep_browsers_from_guessing(service, sent):
    head = raw(service, sent).partition(b"\r\n\r\n")[0].lower().split(b"\r\n")
    assert b"x-content-type-options: nosniff" in head
    assert b"cache-control: no-store" in head
    assert b"content-security-policy: default-src 'none'; frame-ancestors 'none'" in head


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/inference_info", lambda: None),
        ("/inference_info", lambda: {"a": float("nan")}),
        ("/inference_version", lambda: True),
        ("/inference_version", lambda: float("inf")),
    ],
)
def test_s71_junk_about_the_inference_engine_is_never_a_success(host, path, answer):
    refused = host(answer).get(path)
    assert refused.status in (500, 502)
    assert set(refused.json()) == {"error", "message"}


@pytest.mark.parametrize("answer", [True, -5, None, "3"])
def test_clear_that_answers_no_count_is_502(host, answer):
    refused = host(lambda: answer).delete("/cache/clear")
    assert refused.status == 502
    assert refused.json()["message"].startswith("clear() answered a ")


def test_s52_a_view_that_asks_the_process_to_end_names_its_operation(host):
    answer = host(raiser(SystemExit(0))).get("/freeze/status")
    assert (answer.status, answer.json()) == (
        500,
        {"error": "Failed to get freeze mode status", "message": "it ended with SystemExit"},
    )


def test_s24_the_address_of_a_redirect_holds_no_secret(service):
    answer = service.get("/conf/?names=chunk_size&token=hunter2secret")
    assert answer.status == 307
    assert answer.headers["Location"] == "/conf?names=chunk_size&token=******"
