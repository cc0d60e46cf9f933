"""A token is told nobody: not by logs, answers, files or time; and it counts in one place (S2, S6, S7, S14, S19)."""

import json
import logging
import os
import socket
from datetime import datetime, timedelta, timezone

import pytest

from lmcache_admin.security import private_files, tokens, users
from lmcache_admin.security.tokens import find_token, new_token

PASSWORD = "correct horse battery"


@pytest.fixture
def made(tmp_path):
    """A token file with a viewer and an admin; (path, secrets)."""
    viewer, admin = new_token("viewer", "viewer"), new_token("admin", "admin")
    private_files.write_private(str(tmp_path / "tokens"), f"{viewer[1].line}\n{admin[1].line}\n".encode())
    return tmp_path / "tokens", {"viewer": viewer[0], "admin": admin[0]}


@pytest.fixture
def guarded(serve, made, tmp_path):
    files = {"token_file": str(made[0]), "audit_file": str(tmp_path / "audit.log")}
    return serve(tcp=True, extra={"auth": "token", "log_level": "trace", **files})


def bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


def test_s2_s7_no_log_line_answer_or_file_ever_holds_a_token(guarded, made, tmp_path, caplog):
    caplog.set_level(1)
    for name in ("lmcache_admin", "lmcache_admin.access", "waitress", "werkzeug"):
        caplog.set_level(1, name)
    secret = made[1]["admin"]
    answers = [
        guarded.request(method, path, body, {**headers, "Content-Type": "application/json"})
        for headers in (bearer(secret), {"Cookie": f"token={secret}"}, {"Authorization": secret}, {"X-Api-Key": secret})
        for method, path, body in (
            ("GET", "/version", None),
            ("GET", f"/version?token={secret}&x={secret}", None),
            ("GET", f"/nowhere?access_token={secret}", None),
            ("PUT", f"/freeze/enable?t={secret}", None),
            ("POST", "/conf", json.dumps({"blend_special_str": secret, secret: secret})),
            ("POST", "/conf", f'{{"broken": "{secret}'),
            ("PUT", f"/bypass/add?backend_name={secret}", None),
            ("GET", f"/threads?thread_id={secret}", None),
            ("GET", f"/jobs/{secret}", None),
            ("POST", "/session", json.dumps({"name": secret, "password": secret})),
            ("GET", "/audit?limit=1000", None),
            ("GET", "/metrics", None),
            ("GET", "/threads", None),
        )
    ]
    guarded.server.stop()
    assert {answer.status for answer in answers} >= {200, 400, 401, 404}
    for answer in answers:
        assert secret not in answer.text
        assert secret not in str(answer.headers)
    lines = [record.getMessage() + str(record.exc_info or "") for record in caplog.records]
    assert any("lane=" in line for line in lines), "the access log was on"
    assert not [line for line in lines if secret in line]
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path


def raw(running, *headers):
    with socket.create_connection(("127.0.0.1", running.target), 30) as connection:
        head = ["GET /version HTTP/1.1", f"Host: 127.0.0.1:{running.target}", *headers, "Connection: close", "", ""]
        connection.sendall("\r\n".join(head).encode("latin-1"))
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return int(answer.split()[1])


def test_s7_two_authorization_headers_are_nobody(guarded, made):
    good, bad = f"Authorization: Bearer {made[1]['admin']}", "Authorization: Bearer lmca_wrong"
    assert raw(guarded, good) == 200
    for pair in ((good, good), (good, bad), (bad, good), (good, "Authorization:"), ("Authorization: Basic YTpi", good)):
        assert raw(guarded, *pair) == 401


@pytest.mark.parametrize(
    "value",
    [
        "Bearer {}, Bearer {}",
        "Bearer {} {}",
        "Bearer{}",
        "Bearer\t{}",
        "bearer:{}",
        "Token {}",
        "{}",
        "Basic {}",
        'Bearer "{}"',
        "Bearer {}\u00e9",
        "Bearer " + "{}" * 120,
    ],
)
def test_s7_odd_forms_of_the_header_are_401_and_never_500(guarded, made, value):
    assert raw(guarded, f"Authorization: {value.replace('{}', made[1]['admin'])}") == 401


@pytest.mark.parametrize("value", ["bearer {}", "BEARER {}", "Bearer   {}  "])
def test_s7_scheme_is_read_in_any_case_and_spaces_are_passed_over(guarded, made, value):
    assert raw(guarded, f"Authorization: {value.format(made[1]['viewer'])}") == 200


def test_s6_every_token_is_compared_in_constant_time_whether_it_fits_or_not(monkeypatch):
    compared = []
    real = tokens.hmac.compare_digest

    def counted(left, right):
        compared.append(len(left) == len(right) == 64)
        return real(left, right)

    monkeypatch.setattr(tokens.hmac, "compare_digest", counted)
    made = [new_token(f"t{number}", "viewer") for number in range(5)]
    known = tuple(token for _, token in made)
    for secret in (made[0][0], made[4][0], "lmca_wrong", ""):
        compared.clear()
        find_token(known, secret)
        assert compared == [True] * 5


def test_s6_password_is_compared_in_constant_time(monkeypatch):
    compared = []
    monkeypatch.setattr(users.hmac, "compare_digest", lambda left, right: compared.append((len(left), len(right))))
    known = (users.new_user("ada", "viewer", PASSWORD),)
    for name in ("ada", "eve"):
        assert users.check_password(known, name, "wrong password") is None
    assert compared == [(32, 32), (32, 32)]


def test_s2_token_that_has_ended_is_refused_over_http(serve, tmp_path):
    now = datetime.now(timezone.utc)
    secret, token = new_token("old", "admin", now - timedelta(seconds=1))
    young, fresh = new_token("young", "admin", now + timedelta(hours=1))
    private_files.write_private(str(tmp_path / "tokens"), f"{token.line}\n{fresh.line}\n".encode())
    running = serve(tcp=True, extra={"auth": "token", "token_file": str(tmp_path / "tokens")})
    assert running.request("GET", "/version", headers=bearer(secret)).status == 401
    assert running.request("GET", "/version", headers=bearer(young)).status == 200


def test_s2_digest_of_the_file_is_no_token(guarded, made):
    for line in made[0].read_text().splitlines():
        digest = line.split("$")[1].partition(":")[0]
        for guess in (digest, f"lmca_{digest}", f"sha256${digest}"):
            assert guarded.request("GET", "/version", headers=bearer(guess)).status == 401


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "PROPFIND"])
def test_s14_without_credentials_every_method_of_every_path_is_401(guarded, method):
    for path in ("/version", "/nowhere", "/audit", "/", "/version/", "/conf?" + "a&" * 1500, "/healthz/"):
        assert guarded.request(method, path).status == 401, path


SPELLINGS = [
    "//audit", "///audit", "/./audit", "/x/../audit", "/%2Faudit", "/audit/", "/audit//", "/audit%2F", "/audit;x=1",
    "/audit%3Bx", "/audit%00", "/audit%20", "/AUDIT", "/%61udit", "/audit/.", "/audit%23x", "/audit.json",
    "/healthz/../audit", "/healthz%2F..%2Faudit", "/audit%3F", "/audit\\", "/%c0%afaudit", "/healthz;/audit",
]  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_s19_no_spelling_gets_a_stranger_or_a_viewer_what_is_an_admins(guarded, made, spelling):
    assert guarded.request("GET", spelling).status in (400, 401)
    answer = guarded.request("GET", spelling, headers=bearer(made[1]["viewer"]))
    assert answer.status in (307, 400, 403, 404)
    assert b"entries" not in answer.body


LEVELS = [
    "level=DEBUG&level=", "level=&level=DEBUG", "level=DEBUG;level=", "LEVEL=DEBUG", "level=%44EBUG", "level=+",
    "level[]=DEBUG", "level%00=DEBUG", "level=DEBUG&" + "a&" * 1200, "%6Cevel=DEBUG", "level=DEBUG%00",
]  # fmt: skip


@pytest.mark.parametrize("query", LEVELS)
def test_s15_no_spelling_of_a_level_lets_a_viewer_set_it(guarded, made, query):
    name = "tests.secrecy"
    answer = guarded.request("GET", f"/loglevel?logger_name={name}&{query}", headers=bearer(made[1]["viewer"]))
    assert answer.status in (200, 400, 403)
    assert logging.getLogger(name).level == logging.NOTSET


def test_s4_file_of_tokens_in_place_of_which_there_is_something_else_stops_the_start(serve, tmp_path):
    places = {"a folder": tmp_path, "a pipe": tmp_path / "pipe", "a device": "/dev/null", "a loop": tmp_path / "loop"}
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in places.values():
        with pytest.raises(AssertionError, match="internal_api_server_token_file"):
            serve(extra={"auth": "token", "token_file": str(path)})


def test_s4_file_that_is_too_large_stops_the_start(serve, tmp_path):
    private_files.write_private(str(tmp_path / "tokens"), b"#" * (1024 * 1024 + 1))
    with pytest.raises(AssertionError, match="larger than 1048576 bytes"):
        serve(extra={"auth": "token", "token_file": str(tmp_path / "tokens")})


def test_s5_file_that_loses_its_privacy_keeps_what_it_said(guarded, made, monkeypatch):
    monkeypatch.setattr(private_files, "LOOK_SECONDS", 0.0)
    made[0].chmod(0o644)
    answer = guarded.request("GET", "/readyz", headers=bearer(made[1]["viewer"]))
    check = next(check for check in answer.json()["checks"] if check["name"] == "token_file")
    assert (check["status"], check["message"]) == ("failed", "its mode is 0644; wanted: 0600")
    made[0].chmod(0o600)
    assert guarded.request("GET", "/readyz", headers=bearer(made[1]["viewer"])).json()["status"] == "ok"


FORGED = f"evil:admin:sha256${'0' * 64}:-\nb"


@pytest.mark.parametrize("name", ["a:b", "", "a\nb", FORGED, "\u00e9", ".a", "a" * 65, "#a"])
def test_s2_name_that_would_make_another_line_is_refused(name):
    with pytest.raises(ValueError, match="the name may have"):
        new_token(name, "viewer")
    with pytest.raises(ValueError, match="the name may have"):
        users.new_user(name, "viewer", PASSWORD)


def test_s22_what_the_service_itself_says_is_readable(serve, tmp_path):
    tokens = tmp_path / "own-tokens"
    private_files.write_private(str(tokens), new_token("ops", "admin")[1].line.encode())
    running = serve(extra={"auth": "token", "token_file": str(tokens)})
    assert "*" not in running.get("/version").text
    wrong = running.post("/session", "{}")
    assert wrong.json()["errors"]["json"]["password"] == ["Missing data for required field."]
