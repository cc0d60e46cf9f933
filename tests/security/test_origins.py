"""Foreign names and foreign pages: rebinding, simple requests, images, forms, navigation (S34 to S37)."""

import socket

import pytest

EVIL = "http://evil.example"
#: What a browser adds to a request that a page of another site makes.
FOREIGN = {
    "origin alone": {"Origin": EVIL},
    "origin null": {"Origin": "null"},
    "site alone": {"Sec-Fetch-Site": "cross-site"},
    "same site": {"Sec-Fetch-Site": "same-site"},
    "both": {"Origin": EVIL, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    "form": {
        "Origin": EVIL,
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Content-Type": "application/x-www-form-urlencoded",
    },
    "image": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    "navigation": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
}
OURS = ["127.0.0.1:{port}", "127.0.0.1", "localhost:{port}", "localhost", "LOCALHOST:1", "[::1]:{port}", "127.9.9.9"]
ODD = [
    "evil.example",
    "evil.example:{port}",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "localhost:1:2",
    "127.0.0.1@evil.example",
    "[::1].evil.example",
    "[fe80::1]",
    "0.0.0.0:{port}",
    "10.0.0.1",
    "0x7f000001",
    "2130706433",
    "127.1",
    "127.0.0.1%00.evil.example",
    "kv-0",
]


@pytest.fixture
def tcp(serve):
    return serve(tcp=True)


def changes(running):
    """Every route that is not a GET."""
    routes = running.get("/blueprints").json()["routes"]
    return [(route["method"], route["path"]) for route in routes if route["method"] != "GET"]


@pytest.mark.parametrize("host", OURS)
def test_s34_loopback_address_and_localhost_are_ours(tcp, host):
    assert tcp.get("/version", Host=host.format(port=tcp.target)).status == 200


@pytest.mark.parametrize("host", ODD)
def test_s34_foreign_or_odd_name_is_refused_for_reads_and_changes(tcp, host):
    host = host.format(port=tcp.target)
    for method, path in [("GET", "/version"), ("GET", "/env"), ("PUT", "/freeze/enable"), ("GET", "/nowhere")]:
        answer = tcp.request(method, path, headers={"Host": host})
        assert answer.status in (400, 403), path
        assert set(answer.json()) >= {"error", "message"}
    assert tcp.get("/freeze/status").json()["freeze"] is False


def test_refusal_names_the_setting_that_would_allow_the_name(tcp):
    message = tcp.get("/version", Host="kv-0.example").json()["message"]
    assert message.startswith("The name 'kv-0.example' is not this server's; ")
    assert "internal_api_server_allowed_hosts" in message


def test_s34_listed_name_is_ours(serve):
    running = serve(tcp=True, extra={"allowed_hosts": ["Kv-0.example"]})
    assert running.get("/version", Host="kv-0.EXAMPLE:80").status == 200
    assert running.get("/version", Host="kv-1.example").status == 403


def test_request_of_http_1_0_needs_no_name(tcp):
    with socket.create_connection(("127.0.0.1", tcp.target), 30) as connection:
        connection.sendall(b"GET /version HTTP/1.0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.0 200 ")


def test_native_client_of_the_socket_may_use_any_name(service):
    assert service.get("/version", Host="anything.example").status == 200


def test_browser_is_asked_for_the_name_on_the_socket_too(service):
    assert service.request("GET", "/version", headers={"Host": "evil.example", "Sec-Fetch-Site": "none"}).status == 403


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_s34_probes_may_use_any_name(tcp, path):
    assert tcp.get(path, Host="evil.example").status in (200, 503)
    assert "error" not in tcp.get(path, Host="evil.example").json()


@pytest.mark.parametrize("kind", sorted(FOREIGN))
@pytest.mark.parametrize("over_tcp", [True, False])
def test_s35_foreign_page_changes_nothing_by_any_route(serve, kind, over_tcp):
    running = serve(tcp=over_tcp, run_script_api_enabled=True)
    before = running.get("/conf").body
    for method, path in changes(running):
        body = b'{"min_retrieve_tokens": 9}' if path == "/conf" else None
        answer = running.request(method, path, body, FOREIGN[kind])
        assert (answer.status, answer.json()["error"]) == (403, "Forbidden"), path
    assert running.get("/conf").body == before
    assert running.get("/freeze/status").json()["freeze"] is False


@pytest.mark.parametrize("kind", sorted(FOREIGN))
@pytest.mark.parametrize("path", ["/env", "/conf", "/threads", "/metrics", "/version", "/freeze/status", "/nowhere"])
def test_s35_foreign_page_reads_nothing(tcp, kind, path):
    answer = tcp.request("GET", path, headers=FOREIGN[kind])
    assert (answer.status, answer.json()["error"]) == (403, "Forbidden")


@pytest.mark.parametrize("kind", sorted(FOREIGN))
def test_s35_level_of_a_logger_is_not_set_by_a_foreign_image(tcp, kind):
    name = f"tests.origins.{kind.replace(' ', '_')}"
    assert tcp.request("GET", f"/loglevel?logger_name={name}&level=DEBUG", headers=FOREIGN[kind]).status == 403
    assert tcp.get(f"/loglevel?logger_name={name}").text == f"{name}: NOTSET"
    assert tcp.get(f"/loglevel?logger_name={name}&level=ERROR").status == 200


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "none"}, {"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://127.0.0.1:{port}"}]
)
def test_s37_own_page_reads_and_cannot_change_without_a_token(tcp, headers):
    headers = {name: value.format(port=tcp.target) for name, value in headers.items()}
    assert tcp.request("GET", "/conf", headers=headers).status == 200
    for method, path in changes(tcp):
        if path not in ("/run_script", "/session"):
            assert tcp.request(method, path, headers=headers).status == 403, path


@pytest.mark.parametrize("origin", ["https://127.0.0.1:{port}", "http://127.0.0.1:1", "http://localhost:{port}"])
def test_s35_origin_of_another_scheme_port_or_name_is_foreign(tcp, origin):
    assert tcp.request("GET", "/conf", headers={"Origin": origin.format(port=tcp.target)}).status == 403


def test_listed_origin_reads(serve):
    running = serve(tcp=True, extra={"allowed_origins": ["https://ops.example"]})
    headers = {"Origin": "https://ops.example", "Sec-Fetch-Site": "cross-site"}
    assert running.request("GET", "/version", headers=headers).status == 200
    assert running.request("GET", "/version", headers={**headers, "Origin": EVIL}).status == 403


@pytest.mark.parametrize("kind", sorted(FOREIGN))
def test_s36_no_answer_lets_another_origin_read_it(tcp, kind):
    preflight = {**FOREIGN[kind], "Access-Control-Request-Method": "PUT"}
    for method, path in [("GET", "/version"), ("OPTIONS", "/freeze/enable"), ("POST", "/conf"), ("GET", "/healthz")]:
        answer = tcp.request(method, path, headers=preflight)
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


@pytest.mark.parametrize(
    "header",
    ["Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Server"],
)
def test_proxied_request_is_refused_in_mode_local(serve, tcp, header):
    answer = tcp.request("GET", "/version", headers={header: "x"})
    assert answer.status == 403
    assert "what a proxy passes on" in answer.json()["message"]


def test_proxied_request_is_served_with_auth_off(serve):
    running = serve(tcp=True, extra={"auth": "off"})
    assert running.get("/version", X_Forwarded_For="10.0.0.1").status == 200
