"""What proxies say of the client before them: believed of trusted ones, taken out of all others (S9, S13, S18, S40)."""

import json
import os

import pytest

from lmcache_admin import create_app
from lmcache_admin.security import private_files
from lmcache_admin.security.tokens import new_token
from lmcache_admin.security.users import new_user
from lmcache_admin.settings import PolicyError, Settings

PASSWORD = "correct horse battery"
PROXY = {"auth": "proxy", "proxy_user_header": "X-User", "proxy_role_header": "X-Role"}
ADA = {"X-User": "ada", "X-Role": "operator"}
#: An extension that tells what its view sees.
ECHO = """
from flask import Blueprint, jsonify, request
blueprint = Blueprint("echo", __name__)

@blueprint.get("/echo")
def echo():
    return jsonify({"headers": sorted(request.headers.keys()), "scheme": request.scheme, "root": request.root_path})
"""


@pytest.fixture
def users(tmp_path):
    path = tmp_path / "users"
    private_files.write_private(str(path), f"{new_user('ada', 'operator', PASSWORD).line}\n".encode())
    return path


@pytest.fixture
def echo(tmp_path):
    folder = tmp_path / "extension" / "common"
    folder.mkdir(parents=True)
    (folder / "echo_api.py").write_text(ECHO)
    return {"blueprint_paths": [str(folder.parent)]}


def log_in(running, **headers):
    body = json.dumps({"name": "ada", "password": PASSWORD})
    sent = {"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin", **headers}
    return running.request("POST", "/session", body, sent)


def newest(running):
    return running.server.service.audit.newest(1)[0]


@pytest.mark.parametrize(
    ("trusted", "told", "secure"),
    [
        (["127.0.0.1"], "https", True),
        (["127.0.0.1"], "http, https", True),  # the last one is what our own proxy said
        (["127.0.0.1"], "https, http", False),
        (["127.0.0.1"], "gopher", False),
        (["192.0.2.1"], "https", False),
        ([], "https", False),
    ],
)
def test_s9_cookie_is_secure_where_a_trusted_proxy_says_https(serve, users, trusted, told, secure):
    running = serve(tcp=True, extra={"auth": "token", "user_file": str(users), "trusted_proxy": trusted})
    answer = log_in(running, **{"X-Forwarded-Proto": told})
    assert answer.status == 200
    assert ("; Secure" in answer.headers["Set-Cookie"]) is secure


@pytest.mark.parametrize(("trusted", "status"), [(["127.0.0.1"], 200), ([], 403)])
def test_s9_page_of_https_is_ours_behind_a_trusted_proxy(serve, users, trusted, status):
    running = serve(tcp=True, extra={"auth": "token", "user_file": str(users), "trusted_proxy": trusted})
    headers = {"X-Forwarded-Proto": "https", "Origin": f"https://127.0.0.1:{running.target}"}
    assert log_in(running, **headers).status == status


@pytest.mark.parametrize(("trusted", "path"), [(["127.0.0.1"], "/lmcache/admin"), ([], "/")])
@pytest.mark.parametrize("told", ["/lmcache/admin", "/lmcache/admin/"])
def test_s9_s40_prefix_of_a_trusted_proxy_is_that_of_cookie_and_redirect(serve, users, trusted, path, told):
    running = serve(tcp=True, extra={"auth": "token", "user_file": str(users), "trusted_proxy": trusted})
    answer = log_in(running, **{"X-Forwarded-Prefix": told})
    assert f"; Path={path};" in answer.headers["Set-Cookie"]
    cookie = {"Cookie": answer.headers["Set-Cookie"].partition(";")[0], "X-Forwarded-Prefix": told}
    moved = running.request("GET", "/version/", headers=cookie)
    assert (moved.status, moved.headers["Location"]) == (307, f"{path.rstrip('/')}/version")


@pytest.mark.parametrize(
    "told", ["//evil.example", "/a/../b", "https://evil.example", "/a b", "/a;b", "/a\\b", "a", "/", ""]
)
def test_s40_prefix_that_could_lead_elsewhere_is_none(serve, told):
    running = serve(tcp=True, extra={"auth": "off", "trusted_proxy": ["127.0.0.1"]})
    claimed = {"X-Forwarded-Prefix": told, "X-Forwarded-Host": "evil.example"}
    moved = running.request("GET", "/version/", headers=claimed)
    assert moved.headers["Location"] == "/version"


@pytest.mark.parametrize(
    ("trusted", "told", "address"),
    [
        (["127.0.0.1"], "203.0.113.9", "203.0.113.9"),
        (["127.0.0.1"], "10.9.9.9, 203.0.113.9", "203.0.113.9"),  # the first is the client's own claim
        (["127.0.0.1", "10.0.0.0/8"], "203.0.113.9, 10.1.1.1", "203.0.113.9"),
        (["127.0.0.1"], "[2001:db8::1]:4711", "2001:db8::1"),
        (["127.0.0.1"], "203.0.113.9:4711", "203.0.113.9"),
        (["127.0.0.1"], "203.0.113.9, junk", "127.0.0.1"),
        (["127.0.0.1"], "", "127.0.0.1"),
        (["192.0.2.1"], "203.0.113.9", "127.0.0.1"),
    ],
)
def test_s13_client_of_a_trusted_proxy_is_in_the_audit_and_nobody_elses_claim(serve, users, trusted, told, address):
    running = serve(tcp=True, extra={"auth": "token", "user_file": str(users), "trusted_proxy": trusted})
    running.request("PUT", "/freeze/enable", headers={"X-Forwarded-For": told})
    assert newest(running)["address"] == address


def test_s8_clients_behind_a_proxy_do_not_lock_each_other_out(serve, users):
    running = serve(tcp=True, extra={"auth": "token", "user_file": str(users), "trusted_proxy": ["127.0.0.1"]})
    body = json.dumps({"name": "ada", "password": "not the password"})
    for _ in range(5):
        sent = {"Content-Type": "application/json", "X-Forwarded-For": "203.0.113.66"}
        assert running.request("POST", "/session", body, sent).status == 401
    assert log_in(running, **{"X-Forwarded-For": "203.0.113.66"}).status == 429
    assert log_in(running, **{"X-Forwarded-For": "203.0.113.9"}).status == 200


def test_s8_client_that_only_claims_other_addresses_is_limited_all_the_same(serve, users):
    running = serve(tcp=True, extra={"auth": "token", "user_file": str(users)})
    body = json.dumps({"name": "ada", "password": "not the password"})
    for number in range(5):
        sent = {"Content-Type": "application/json", "X-Forwarded-For": f"203.0.113.{number}"}
        assert running.request("POST", "/session", body, sent).status == 401
    assert log_in(running, **{"X-Forwarded-For": "203.0.113.99"}).status == 429


def test_s13_headers_of_a_peer_that_is_not_trusted_reach_nothing(serve, echo):
    extra = {**PROXY, **echo, "trusted_proxy": ["192.0.2.1"], "socket_users": {str(os.getuid()): "admin"}}
    claimed = {"X-Forwarded-User": "eve", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/x", **ADA}
    running = serve(tcp=True, extra=extra)
    assert running.request("GET", "/echo", headers=claimed).status == 401
    assert "ada" not in json.dumps(newest(running))
    off = serve(worker_id=2, extra={**extra, "auth": "off"})
    seen = off.request("GET", "/echo", headers=claimed).json()
    assert (seen["scheme"], seen["root"]) == ("http", "")
    assert not [name for name in seen["headers"] if name.lower().startswith(("x-forwarded", "x-user", "x-role"))]


def test_s13_headers_twice_are_nobody(serve):
    running = serve(extra=PROXY)
    for twice in ("X-Role", "X-User"):
        connection = running.connection()
        connection.putrequest("GET", "/version")
        for name, value in ADA.items():
            connection.putheader(name, value)
        connection.putheader(twice, "admin")
        connection.endheaders()
        answer = connection.getresponse()
        answer.read()
        connection.close()
        assert answer.status == (401 if twice == "X-Role" else 200)
    running.request("PUT", "/freeze/enable", headers={**ADA, "X-User": "ada, admin"})
    assert newest(running)["actor"] == "user ada, admin"  # as it was told, so that nobody is taken for somebody


def test_s13_name_of_a_user_is_read_as_utf8_and_bounded(serve):
    running = serve(extra=PROXY)
    name = "Ad\u00e0 \u4e2d" * 100
    running.request("PUT", "/freeze/enable", headers={**ADA, "X-User": name.encode().decode("latin-1")})
    assert newest(running)["actor"] == f"user {name}"[:205]


def test_s12_s13_user_of_the_socket_counts_where_the_proxy_names_nobody(serve):
    running = serve(extra={**PROXY, "socket_users": {str(os.getuid()): "viewer"}})
    assert running.get("/version").status == 200
    assert running.put("/freeze/enable").status == 403
    assert running.request("PUT", "/freeze/enable", headers=ADA).status == 200


@pytest.mark.parametrize("mode", ["token", "off"])
def test_s18_identity_headers_mean_nothing_outside_mode_proxy(serve, tmp_path, mode):
    _, token = new_token("a", "viewer")
    private_files.write_private(str(tmp_path / "tokens"), f"{token.line}\n".encode())
    extra = {**PROXY, "auth": mode, "token_file": str(tmp_path / "tokens"), "trusted_proxy": ["127.0.0.1"]}
    running = serve(tcp=True, extra=extra)
    more = {"X-Forwarded-User": "ada", "Remote-User": "ada", "X-Remote-User": "ada", "X-Original-URL": "/version"}
    answer = running.request("GET", "/audit", headers={**ADA, **more, "X-HTTP-Method-Override": "GET"})
    assert answer.status == (401 if mode == "token" else 200)
    running.request("PUT", "/freeze/enable", headers={**ADA, **more})
    assert newest(running)["actor"] == ("nobody" if mode == "token" else "anybody")


@pytest.mark.parametrize("networks", [["0.0.0.0/0"], ["::/0"], ["10.0.0.0/8", "0.0.0.0/0"]])
def test_s13_network_of_everybody_is_no_proxy(networks):
    values = {f"internal_api_server_{name}": value for name, value in {**PROXY, "trusted_proxy": networks}.items()}
    with pytest.raises(PolicyError, match="allow_insecure"):
        Settings.from_mapping({"internal_api_server_enabled": True, "extra_config": values}, {})


def test_s13_socket_alone_is_no_proxy_of_a_tcp_listener():
    values = {f"internal_api_server_{name}": value for name, value in {**PROXY, "trusted_proxy": ["unix"]}.items()}
    with pytest.raises(PolicyError, match="trusted_proxy"):
        Settings.from_mapping({"internal_api_server_enabled": True, "extra_config": values}, {})


def test_s9_socket_can_be_named_as_a_proxy_in_mode_token(serve, users):
    for trusted in (["unix"], ["127.0.0.1"]):
        extra = {"auth": "token", "user_file": str(users), "trusted_proxy": trusted}
        running = serve(worker_id=len(trusted[0]), extra=extra)
        answer = log_in(running, **{"X-Forwarded-Proto": "https", "Host": "admin.example"})
        assert answer.status == 403  # its name is not listed
        answer = log_in(running, **{"X-Forwarded-Proto": "https", "Host": "localhost"})
        assert ("; Secure" in answer.headers["Set-Cookie"]) is (trusted == ["unix"])


def test_s40_application_mounted_below_a_prefix_redirects_below_it():
    client = create_app(None).test_client()
    mounted = {"REMOTE_ADDR": "127.0.0.1", "SCRIPT_NAME": "/mounted"}
    answer = client.get("/version/", environ_overrides=mounted, headers={"Host": "127.0.0.1"})
    assert answer.headers["Location"] == "/mounted/version"
