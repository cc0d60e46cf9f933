"""Logging in and out as the audit, the limits and a broken machine see it (S5, S8, S9, S11, S27, S29)."""

import json
import os

import pytest

from lmcache_admin.security import private_files, sessions
from lmcache_admin.security.attempts import Attempts
from lmcache_admin.security.tokens import new_token
from lmcache_admin.security.users import new_user, parse_users

PASSWORD = "correct horse battery"
PAGE = {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/json"}


@pytest.fixture(autouse=True)
def look_at_once(monkeypatch):
    """Look at a file of credentials with each request: the time-out is not what is tested here."""
    monkeypatch.setattr(private_files, "LOOK_SECONDS", 0.0)


@pytest.fixture
def users(tmp_path):
    folder = tmp_path / "etc"
    folder.mkdir()
    private_files.write_private(str(folder / "users"), f"{new_user('ada', 'operator', PASSWORD).line}\n".encode())
    return folder / "users"


@pytest.fixture
def start(serve, users, tmp_path):
    """Start a server in mode token whose users log in, with its audit in a file."""

    def begin(**extra):
        options = {"auth": "token", "user_file": str(users), "audit_file": str(tmp_path / "audit.log"), **extra}
        return serve(tcp=True, extra=options)

    return begin


def log_in(running, name="ada", password=PASSWORD, **headers):
    body = json.dumps({"name": name, "password": password})
    return running.request("POST", "/session", body, {**PAGE, **headers})


def session_of(answer):
    return {
        "Cookie": answer.headers["Set-Cookie"].partition(";")[0],
        "X-CSRF-Token": answer.json()["csrf_token"],
        **PAGE,
    }


def lines(tmp_path):
    return [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()[1:]]


def test_s27_login_and_logout_have_their_lines(start, tmp_path, eventually):
    running = start()
    session = session_of(log_in(running))
    assert running.request("DELETE", "/session", headers=session).status == 200
    written = eventually(lambda: len(lines(tmp_path)) == 4 and lines(tmp_path))
    assert [(line["kind"], line.get("operation"), line.get("actor")) for line in written] == [
        ("intent", "log in", "user ada"),
        ("outcome", None, None),
        ("intent", "log out", "user ada"),
        ("outcome", None, None),
    ]
    assert written[0]["role"] == "operator"
    assert PASSWORD not in (tmp_path / "audit.log").read_text()


def test_s27_failed_login_has_one_line_with_the_name_and_without_the_password(start, tmp_path):
    running = start()
    assert log_in(running, password="not the password").status == 401
    (line,) = lines(tmp_path)
    assert (line["kind"], line["status"], line["actor"]) == ("refused", 401, "nobody")
    assert line["arguments"] == {"body": {"name": "ada", "password": "******"}}


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_s27_stranger_who_logs_in_and_out_all_the_time_does_not_fill_the_disk(start, tmp_path, method):
    running = start()
    connection = running.connection()
    for _ in range(400):
        connection.request(method, "/session", b"{}", {"Content-Type": "application/json"})
        connection.getresponse().read()
    connection.close()
    assert len(lines(tmp_path)) < 250


def test_s29_nobody_logs_in_while_the_audit_takes_no_line_and_health_goes_on(start, tmp_path):
    running = start()
    file = running.server.service.audit._file
    os.close(file._file)
    file._file = os.open("/dev/full", os.O_RDWR)
    file._inode, file._end = (tmp_path / "audit.log").stat().st_ino, (tmp_path / "audit.log").stat().st_size
    refused = log_in(running)
    assert refused.status == 503
    assert refused.headers["Set-Cookie"] is None
    assert running.get("/healthz").status == 200
    file._inode = -1  # there is room again
    assert log_in(running).status == 200


def test_s17_who_wants_to_read_may_log_in_where_nothing_can_be_changed(start):
    running = start(read_only=True)
    session = session_of(log_in(running))
    assert running.request("GET", "/conf", headers=session).status == 200
    assert running.request("PUT", "/freeze/enable", headers=session).status == 403
    assert running.request("DELETE", "/session", headers=session).status == 200


def test_s11_cookie_ends_even_where_the_user_file_cannot_be_written(start, users):
    running = start()
    session = session_of(log_in(running))
    users.parent.chmod(0o500)
    users.with_name("users.lock").unlink(missing_ok=True)
    users.with_name("users.lock").mkdir()  # root writes into any folder, but opens no folder as a file
    answer = running.request("DELETE", "/session", headers=session)
    assert answer.status == 500
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    assert answer.json()["error"] == "Failed to log out"


def test_s8_waiting_list_is_kept_per_network_of_64_bits():
    attempts = Attempts()
    for number in range(20):
        attempts.fail(f"name{number}", f"2001:db8::{number:x}")
    assert attempts.wait("another", "2001:db8::ffff:1") > 0
    assert attempts.wait("another", "2001:db8:0:1::1") == 0
    assert attempts.wait("another", "192.0.2.1") == 0


def test_s8_ipv4_written_as_ipv6_is_the_same_address():
    attempts = Attempts()
    for _ in range(5):
        attempts.fail("ada", "::ffff:192.0.2.1")
    assert attempts.wait("ada", "192.0.2.1") > 0
    assert attempts.wait("ada", "192.0.2.2") == 0


def test_s8_name_alone_is_never_locked(start):
    running = start()
    for number in range(20):
        running.server.service.login._attempts.fail("ada", f"192.0.2.{number}")
    assert log_in(running).status == 200


@pytest.mark.parametrize(
    "secret",
    [
        "scrypt$3$8$1$AAAAAAAAAAAAAAAAAAAAAA==$" + "A" * 43 + "=",  # 3 is no power of two
        "scrypt$-2$-8$1$AAAAAAAAAAAAAAAAAAAAAA==$" + "A" * 43 + "=",
        "scrypt$16384$8$1$$" + "A" * 43 + "=",  # no salt
        "scrypt$16384$8$1$AAAAAAAAAAAAAAAAAAAAAA==$AAAA",  # no hash
        "scrypt$1048576$8$8$AAAAAAAAAAAAAAAAAAAAAA==$" + "A" * 43 + "=",  # gigabytes
        "$",
    ],
)
def test_s3_hash_that_cannot_be_checked_is_named_when_the_file_is_read(secret):
    with pytest.raises(ValueError, match="line 1: "):
        parse_users(f"ada:admin:{secret}:1")


@pytest.mark.parametrize("generation", ["-1", "1.0", "", "\u0663", "9" * 30])
def test_s3_generation_that_is_no_number_is_named(generation):
    with pytest.raises(ValueError, match="line 1: "):
        parse_users(f"ada:admin:{new_user('ada', 'admin', PASSWORD).secret}:{generation}")


def test_s9_cookies_of_two_ports_of_one_host_do_not_meet(start, serve, users):
    running = start()
    answer = log_in(running)
    name = answer.headers["Set-Cookie"].partition("=")[0]
    assert name == f"lmcache_admin_{running.target}"
    through_a_tunnel = log_in(running, Host="localhost:8443")
    assert through_a_tunnel.headers["Set-Cookie"].startswith("lmcache_admin_8443=")
    assert log_in(running, Host="127.0.0.1").headers["Set-Cookie"].startswith("lmcache_admin_80=")


def test_s9_token_counts_before_the_session_that_came_with_it(start, tmp_path):
    secret, token = new_token("reader", "viewer")
    private_files.write_private(str(tmp_path / "tokens"), f"{token.line}\n".encode())
    running = start(token_file=str(tmp_path / "tokens"))
    session = session_of(log_in(running))
    both = {**session, "Authorization": f"Bearer {secret}"}
    assert running.request("GET", "/session", headers=both).json()["actor"] == "token reader"
    assert running.request("PUT", "/freeze/enable", headers=both).status == 403
    assert running.request("GET", "/version", headers={**session, "Authorization": "Bearer wrong"}).status == 401
    basic = {**session, "Authorization": "Basic YTpi"}  # a proxy's own question, passed on
    assert running.request("GET", "/version", headers=basic).status == 200


def test_s9_cookie_of_another_key_or_of_an_older_signature_is_nobody(start):
    running = start()
    session = session_of(log_in(running))
    name, _, text = session["Cookie"].partition("=")
    told, _, signature = text.rpartition(".")
    for forged in (f"{told}.{signature[::-1]}", told, f".{text}", text * 2, f"{told}A.{signature}"):
        assert running.request("GET", "/version", headers={**PAGE, "Cookie": f"{name}={forged}"}).status == 401


def test_s9_cookie_is_written_anew_before_it_lies_idle_and_never_beyond_its_longest_life(start, monkeypatch):
    running = start()
    session = session_of(log_in(running))
    made = running.server.service.login.sessions
    monkeypatch.setattr(sessions, "RENEWED", -1.0)
    renewed = running.request("GET", "/version", headers=session)
    cookies = (session["Cookie"], renewed.headers["Set-Cookie"])
    first, second = (made.read(cookie.partition("=")[2].partition(";")[0]) for cookie in cookies)
    assert (second.id, second.began) == (first.id, first.began)
    assert running.request("GET", "/version", headers={**PAGE, "Cookie": "x=y"}).headers["Set-Cookie"] is None
    monkeypatch.setattr(sessions, "ABSOLUTE", -1.0)
    cookie = renewed.headers["Set-Cookie"].partition(";")[0]
    assert running.request("GET", "/version", headers={**PAGE, "Cookie": cookie}).status == 401
