"""Modes token and proxy: who gets in, with which role; files of tokens (S2, S4, S5, S7, S13, S14, S16, S18)."""

import os
from datetime import datetime, timedelta, timezone

import pytest

from lmcache_admin.security import private_files
from lmcache_admin.security.tokens import find_token, new_token, parse_tokens
from lmcache_admin.settings import SettingsError

ROLES = ("viewer", "operator", "admin")
#: One route a role.
ASKS = {"viewer": ("GET", "/version"), "operator": ("DELETE", "/cache/clear"), "admin": ("GET", "/audit")}


@pytest.fixture(autouse=True)
def look_at_once(monkeypatch):
    """Look at a file of credentials with each request: the time-out is not what is tested here."""
    monkeypatch.setattr(private_files, "LOOK_SECONDS", 0.0)


@pytest.fixture
def tokens(tmp_path):
    """A token file with one token a role; name -> secret."""
    path = tmp_path / "tokens"
    made = {role: new_token(f"{role}-1", role) for role in ROLES}
    write(path, "\n".join(token.line for _, token in made.values()))
    return path, {role: secret for role, (secret, _) in made.items()}


def write(path, text):
    path.write_text(text)
    path.chmod(0o600)


def bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


@pytest.fixture
def guarded(serve, tokens):
    """A server in mode token, and its secrets."""
    path, secrets = tokens
    return serve(tcp=True, extra={"auth": "token", "token_file": str(path)}), secrets


@pytest.mark.parametrize("asked", ROLES)
@pytest.mark.parametrize("held", ROLES)
def test_s14_token_gives_its_role_and_those_below(guarded, held, asked):
    running, secrets = guarded
    method, path = ASKS[asked]
    answer = running.request(method, path, headers=bearer(secrets[held]))
    assert answer.status == (200 if ROLES.index(held) >= ROLES.index(asked) else 403)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer lmca_wrong"},
        {"Authorization": "Bearer lmca_\u00e9".encode().decode("latin-1")},
        {"Authorization": "Bearer " + "x" * 5000},
        {"Authorization": "Basic YTpi"},
        {"X-Forwarded-User": "root", "X-Role": "admin"},
    ],
)
@pytest.mark.parametrize("path", ["/version", "/audit", "/metrics", "/no/such/path", "/openapi.json"])
def test_s7_without_a_good_token_every_path_is_401(guarded, headers, path):
    answer = guarded[0].request("GET", path, headers=headers)
    assert (answer.status, answer.json()["error"]) == (401, "Unauthorized")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_s7_token_in_query_cookie_or_body_is_ignored(guarded):
    running, secrets = guarded
    secret = secrets["admin"]
    assert running.get(f"/version?token={secret}&access_token={secret}").status == 401
    assert running.get("/version", Cookie=f"token={secret}").status == 401
    assert running.post("/conf", f'{{"token": "{secret}"}}').status == 401


def test_s14_health_is_open_and_tells_strangers_the_status_alone(guarded):
    running, secrets = guarded
    assert running.get("/healthz").status == 200
    assert set(running.get("/readyz").json()) == {"status"}
    assert "checks" in running.request("GET", "/readyz", headers=bearer(secrets["viewer"])).json()


def test_metrics_can_be_opened_by_a_setting(serve, tokens):
    running = serve(extra={"auth": "token", "token_file": str(tokens[0]), "metrics_open": True})
    assert running.get("/metrics").status == 200
    assert running.get("/version").status == 401


def test_s5_changed_file_counts_and_a_revoked_token_is_refused(guarded, tokens):
    running, secrets = guarded
    path, _ = tokens
    fresh, token = new_token("new", "operator")
    write(path, token.line)
    assert running.request("GET", "/version", headers=bearer(secrets["admin"])).status == 401
    assert running.request("GET", "/version", headers=bearer(fresh)).status == 200


@pytest.mark.parametrize("broken", ["no token at all", "a:admin:sha256$00:-", "\udcff"])
def test_s5_broken_file_keeps_what_it_said_before_and_readyz_tells(guarded, tokens, broken):
    running, secrets = guarded
    path, _ = tokens
    path.write_bytes(broken.encode("utf-8", "surrogateescape"))
    answer = running.request("GET", "/readyz", headers=bearer(secrets["admin"]))
    check = next(check for check in answer.json()["checks"] if check["name"] == "token_file")
    assert check["status"] == "failed"
    assert running.request("GET", "/audit", headers=bearer(secrets["admin"])).status == 200


def test_s2_file_holds_a_digest_and_not_the_token(tokens):
    path, secrets = tokens
    text = path.read_text()
    for role, secret in secrets.items():
        assert secret.startswith("lmca_")
        assert len(secret) - len("lmca_") == 43  # 256 bits in base64
        assert secret not in text
        assert f"{role}-1:{role}:sha256$" in text


def test_s2_expired_token_is_nobody():
    now = datetime.now(timezone.utc)
    secret, old = new_token("old", "admin", now - timedelta(seconds=2))
    assert find_token((old,), secret) is None
    secret, young = new_token("young", "admin", now + timedelta(hours=1))
    assert find_token((old, young), secret) == young


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a:admin:x", "line 1: 3 fields"),
        ("a b:admin:sha256$" + "0" * 64 + ":-", "the name may have"),
        ("a:root:sha256$" + "0" * 64 + ":-", "the role is not one of viewer, operator, admin"),
        ("a:admin:md5$" + "0" * 64 + ":-", "the third field"),
        ("a:admin:sha256$" + "0" * 64 + ":tomorrow", "the expiry"),
    ],
)
def test_line_that_is_wrong_is_named_without_its_content(line, said):
    with pytest.raises(ValueError, match="line 1") as caught:
        parse_tokens(line)
    assert said in str(caught.value)
    assert "0" * 64 not in str(caught.value)


@pytest.mark.parametrize(("mode", "said"), [(0o640, "0640"), (0o604, "0604"), (0o620, "0620")])
def test_s4_file_that_others_may_read_or_write_stops_the_start(serve, tokens, mode, said):
    path, _ = tokens
    path.chmod(mode)
    with pytest.raises(AssertionError) as caught:
        serve(extra={"auth": "token", "token_file": str(path)})
    assert said in str(caught.value)
    assert "wanted: 0600" in str(caught.value)


def test_s4_file_of_another_user_stops_the_start(tmp_path, tokens):
    path, _ = tokens
    if os.geteuid() != 0:
        pytest.fail("this test needs to give a file away: run it as root")
    os.chown(path, 65534, 65534)
    with pytest.raises(SettingsError, match="belongs to uid 65534"):
        private_files.WatchedFile("token_file", str(path), parse_tokens, "token add NAME")


PROXY = {"auth": "proxy", "proxy_user_header": "X-User", "proxy_role_header": "X-Role"}


@pytest.mark.parametrize("role", ROLES)
def test_s13_proxy_on_the_socket_names_user_and_role(serve, role):
    running = serve(extra=PROXY)
    for asked, (method, path) in ASKS.items():
        answer = running.request(method, path, headers={"X-User": "ada", "X-Role": role})
        assert answer.status == (200 if ROLES.index(role) >= ROLES.index(asked) else 403)


@pytest.mark.parametrize("headers", [{}, {"X-User": "ada"}, {"X-Role": "admin"}, {"X-User": "ada", "X-Role": "root"}])
def test_s13_without_both_headers_it_is_401(serve, headers):
    assert serve(extra=PROXY).request("GET", "/version", headers=headers).status == 401


@pytest.mark.parametrize(("networks", "status"), [(["127.0.0.0/8"], 200), (["10.0.0.0/8", "192.0.2.1"], 401)])
def test_s18_headers_count_from_the_trusted_address_only(serve, networks, status):
    running = serve(tcp=True, extra={**PROXY, "trusted_proxy": networks})
    assert running.request("GET", "/audit", headers={"X-User": "ada", "X-Role": "admin"}).status == status


def test_s18_identity_headers_mean_nothing_in_mode_local(serve):
    running = serve(tcp=True)
    headers = {"X-User": "ada", "X-Role": "admin", "X-HTTP-Method-Override": "DELETE", "X-Original-URL": "/audit"}
    assert running.request("GET", "/audit", headers=headers).status == 403
    assert running.request("GET", "/version", headers=headers).status == 200


@pytest.mark.parametrize("key", ["socket_users", "socket_groups"])
@pytest.mark.parametrize("mode", ["local", "token"])
def test_s12_user_and_group_of_the_socket_are_mapped_to_roles(serve, tokens, key, mode):
    number = str(os.getuid() if key == "socket_users" else os.getgid())
    extra = {"auth": mode, "token_file": str(tokens[0]), key: {number: "viewer"}}
    running = serve(extra=extra)
    assert running.get("/version").status == 200
    assert running.delete("/cache/clear").status == 403
    assert running.get("/audit").status == 403


def test_s16_role_is_looked_at_again_when_a_queued_job_begins(guarded, tokens, eventually):
    running, secrets = guarded
    path, _ = tokens
    jobs = running.server.service.jobs
    jobs._limits = type(jobs._limits)("job", 0, 16, 60.0)  # no thread: what comes waits
    headers = {**bearer(secrets["operator"]), "Prefer": "respond-async"}
    answer = running.request("DELETE", "/cache/clear", headers=headers)
    assert answer.status == 202
    write(path, new_token("other", "viewer")[1].line)
    jobs._limits = type(jobs._limits)("job", 4, 16, 60.0)
    with jobs._lock:
        ready = jobs._take_ready()
    jobs._start(ready)
    job = jobs.find(answer.json()["id"])
    assert job.wait(30)
    assert (job.state, job.outcome.status) == ("failed", 403)
