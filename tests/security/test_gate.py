"""The gate: every route is declared, spellings give no more, reads change nothing, read-only refuses every change."""

import pytest

from lmcache_admin import create_app
from lmcache_admin.declaration import LANES, ROLES

SPELLINGS = [
    "//audit",
    "///audit",
    "/./audit",
    "/x/../audit",
    "/%2Faudit",
    "/audit/",
    "/audit//",
    "/audit%2F",
    "/audit;x=1",
    "/audit%3Bx",
    "/audit%00",
    "/audit%20",
    "/AUDIT",
    "/audit/.",
    "/audit%23x",
    "/audit.json",
    "/%61udit",
]


@pytest.fixture
def routes(service):
    return service.get("/blueprints").json()["routes"]


def test_s14_every_route_declares_operation_role_and_lane(service):
    app = service.server.app
    rules = list(app.url_map.iter_rules())
    assert len(rules) > 20
    for rule in rules:
        declaration = getattr(app.view_functions[rule.endpoint], "declaration", None)
        assert declaration is not None, rule
        assert declaration.operation, rule
        assert declaration.role in ROLES, rule
        assert declaration.lane in LANES, rule


def test_s15_what_changes_something_needs_an_operator_and_no_light_lane(service, routes):
    for route in routes:
        if route["method"] != "GET":
            begins_or_ends_a_session = route["path"] == "/session"
            assert route["role"] in ("operator", "admin") or begins_or_ends_a_session, route
            assert route["lane"] in ("change", "job"), route


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_s19_spelling_of_a_protected_path_gives_no_more_than_the_plain_one(serve, spelling):
    running = serve(tcp=True)
    answer = running.request("GET", spelling)
    assert answer.status in (307, 400, 403, 404)
    assert b"entries" not in answer.body


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "PROPFIND", "PATCH"])
def test_other_methods_are_405_or_refused_on_every_route_and_change_nothing(service, routes, method):
    for path in sorted({route["path"].replace("<thread_name>", "x") for route in routes}):
        answer = service.request(method, f"{path}?logger_name=tests.gate&level=DEBUG")
        assert answer.status == 405, path
    assert service.get("/freeze/status").json()["freeze"] is False
    assert service.get("/loglevel?logger_name=tests.gate").text == "tests.gate: NOTSET"


def test_no_route_changes_anything_by_get(service, routes):
    def state():
        return [service.get(path).body for path in ("/conf", "/freeze/status", "/hot_cache/status", "/backends")]

    before = state()
    read = {route["path"] for route in routes if route["method"] == "GET"}
    for path in {route["path"] for route in routes} - read:
        assert service.get(path).status == 405, path
    assert state() == before


@pytest.mark.parametrize("mode", ["local", "off"])
def test_s17_read_only_refuses_every_change_and_goes_on_reading(serve, mode):
    running = serve(extra={"read_only": True, "auth": mode}, run_script_api_enabled=True)
    for route in running.get("/blueprints").json()["routes"]:
        if route["method"] != "GET" and route["path"] != "/session":  # who wants to read may have to log in
            answer = running.request(route["method"], route["path"])
            assert answer.status == 403, route
            assert "internal_api_server_read_only" in answer.json()["message"]
    assert running.get("/loglevel?logger_name=tests.read_only&level=DEBUG").status == 403
    assert running.request("HEAD", "/loglevel?logger_name=tests.read_only&level=DEBUG").status in (403, 405)
    assert running.get("/loglevel?logger_name=tests.read_only&level=").text == "tests.read_only: NOTSET"
    assert running.get("/conf").status == 200
    assert running.get("/freeze/status").json()["freeze"] is False


def test_s17_read_only_itself_cannot_be_lifted(serve):
    running = serve(extra={"read_only": True})
    assert running.post("/conf", '{"extra_config": {}}').status == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/version"),
        ("GET", "/env"),
        ("GET", "/nowhere"),
        ("HEAD", "/version"),
        ("GET", "/threads?thread_id=x"),
        ("GET", "/version/"),
        ("POST", "/conf"),
        ("GET", "/controller/workers"),
    ],
)
def test_s38_every_answer_has_the_headers_that_keep_browsers_out(service, method, path):
    headers = service.request(method, path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "no-store" in headers["Cache-Control"]
    assert headers["Vary"] == "Cookie, Authorization"


def test_answer_does_not_say_which_server_it_is(service):
    assert service.get("/version").headers["Server"] is None


@pytest.mark.parametrize("path", ["/version/", "/conf//?names=chunk_size"])
def test_s40_redirect_stays_on_this_server_whatever_the_name(service, path):
    answer = service.get(path, Host="evil.example")
    assert answer.status == 307
    assert answer.headers["Location"].startswith("/")
    assert not answer.headers["Location"].startswith("//")


@pytest.mark.parametrize(("address", "status"), [("127.0.0.1", 200), ("::1", 200), ("10.1.2.3", 403), ("fe80::1", 403)])
def test_mode_local_serves_callers_of_this_machine_under_any_wsgi_server(address, status):
    client = create_app(None).test_client()
    answer = client.get("/env", environ_overrides={"REMOTE_ADDR": address}, headers={"Host": "127.0.0.1"})
    assert answer.status_code == status


@pytest.mark.parametrize("header", ["Sec-Fetch-Storage-Access", "Sec-Fetch-Of-Tomorrow"])
def test_any_fetch_header_is_a_browsers(service, header):
    assert service.request("PUT", "/freeze/enable", headers={header: "x"}).status == 403
