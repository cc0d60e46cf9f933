"""Sessions of browsers: login, logout, cookie, CSRF token, and the limit on failures (S3, S5, S8 to S11, S37)."""

import pytest
from itsdangerous import URLSafeSerializer

from lmcache_admin.security import private_files, sessions
from lmcache_admin.security.sessions import Sessions, signing_keys
from lmcache_admin.security.users import check_password, new_user, parse_users
from lmcache_admin.settings import SettingsError

PASSWORD = "correct horse battery"
BROWSER = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture(autouse=True)
def look_at_once(monkeypatch):
    """Look at a file of credentials with each request: the time-out is not what is tested here."""
    monkeypatch.setattr(private_files, "LOOK_SECONDS", 0.0)


@pytest.fixture
def users(tmp_path):
    path = tmp_path / "users"
    private_files.write_private(
        str(path),
        "".join(f"{new_user(role, role, PASSWORD).line}\n" for role in ("viewer", "operator", "admin")).encode(),
    )
    return path


@pytest.fixture
def guarded(serve, users, tmp_path):
    """A server in mode token with users who log in."""
    return serve(tcp=True, extra={"auth": "token", "user_file": str(users)})


class Browser:
    """A browser on a page of the server: it keeps the cookie and sends what browsers send."""

    def __init__(self, running):
        self.running, self.cookie, self.csrf = running, None, None

    def request(self, method, path, body=None, **headers):
        sent = {**BROWSER, **({"Cookie": self.cookie} if self.cookie else {})}
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        if body is not None:
            sent["Content-Type"] = "application/json"
        answer = self.running.request(method, path, body, sent)
        if answer.headers["Set-Cookie"]:
            self.cookie = answer.headers["Set-Cookie"].partition(";")[0]
        return answer

    def log_in(self, name, password=PASSWORD):
        answer = self.request("POST", "/session", f'{{"name": "{name}", "password": "{password}"}}')
        self.csrf = answer.json().get("csrf_token")
        return answer


def test_s9_login_gives_a_strict_cookie_and_the_role_of_the_file(guarded):
    browser = Browser(guarded)
    assert browser.request("GET", "/version").status == 401
    answer = browser.log_in("operator")
    assert (answer.status, answer.json()["actor"], answer.json()["role"]) == (200, "user operator", "operator")
    cookie = answer.headers["Set-Cookie"]
    for part in ("; HttpOnly", "; SameSite=Strict", "; Path=/", f"lmcache_admin_{guarded.target}="):
        assert part in cookie
    assert "Secure" not in cookie  # plain http
    assert browser.request("GET", "/version").status == 200
    assert browser.request("GET", "/audit").status == 403


def test_s9_role_is_looked_up_at_each_request(guarded, users):
    browser = Browser(guarded)
    browser.log_in("admin")
    assert browser.request("GET", "/audit").status == 200
    text = users.read_text().replace("admin:admin:", "admin:viewer:")
    private_files.write_private(str(users), text.encode())
    assert browser.request("GET", "/audit").status == 403
    assert browser.request("GET", "/version").status == 200


def test_s37_change_from_a_page_needs_the_token_of_its_session(guarded):
    browser, other = Browser(guarded), Browser(guarded)
    browser.log_in("operator")
    other.log_in("operator")
    assert browser.request("PUT", "/freeze/enable").status == 403
    assert browser.request("PUT", "/freeze/enable", X_CSRF_Token=other.csrf).status == 403
    assert browser.request("PUT", "/freeze/enable", X_CSRF_Token="").status == 403
    assert browser.request("PUT", "/freeze/enable", X_CSRF_Token=browser.csrf).status == 200


def test_s37_cookie_without_any_header_of_a_browser_is_a_browser_all_the_same(guarded):
    browser = Browser(guarded)
    browser.log_in("operator")
    answer = guarded.request("PUT", "/freeze/enable", headers={"Cookie": browser.cookie})
    assert answer.status == 403
    assert "CSRF" in answer.json()["message"]


def test_s35_page_of_another_site_cannot_log_anybody_in(guarded):
    body = f'{{"name": "admin", "password": "{PASSWORD}"}}'
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        answer = guarded.request("POST", "/session", body, {"Content-Type": "application/json", **headers})
        assert answer.status == 403


def test_mode_local_gives_a_browser_a_session_without_login(serve):
    running = serve(tcp=True)
    browser = Browser(running)
    assert browser.request("PUT", "/freeze/enable").status == 403
    told = browser.request("GET", "/session").json()
    assert (told["mode"], told["can_log_in"]) == ("local", False)
    assert browser.request("PUT", "/freeze/enable", X_CSRF_Token=told["csrf_token"]).status == 200


def test_native_client_gets_neither_cookie_nor_token(service):
    answer = service.get("/session")
    assert answer.headers["Set-Cookie"] is None
    assert answer.json()["csrf_token"] is None


def test_s8_failures_are_limited_per_name_and_address_and_say_how_long(guarded):
    browser = Browser(guarded)
    for _ in range(5):
        assert browser.log_in("admin", "wrong password").status == 401
    locked = browser.log_in("admin")
    assert locked.status == 429
    assert 0 < int(locked.headers["Retry-After"]) <= 61
    assert browser.log_in("operator").status == 200  # another name may go on


def test_s8_failures_are_limited_per_address_over_all_names(guarded):
    browser = Browser(guarded)
    statuses = [browser.log_in(f"nobody{number}", "wrong password").status for number in range(21)]
    assert statuses == [401] * 20 + [429]


def test_s11_logout_ends_every_session_of_the_user(guarded):
    first, second, other = Browser(guarded), Browser(guarded), Browser(guarded)
    first.log_in("operator")
    second.log_in("operator")
    other.log_in("viewer")
    assert first.request("DELETE", "/session", X_CSRF_Token=first.csrf).status == 200
    assert second.request("GET", "/version").status == 401
    assert other.request("GET", "/version").status == 200


def test_s5_removed_user_has_no_session_any_more(guarded, users):
    browser = Browser(guarded)
    browser.log_in("operator")
    kept = [line for line in users.read_text().splitlines() if not line.startswith("operator")]
    private_files.write_private(str(users), "\n".join(kept).encode())
    assert browser.request("GET", "/version").status == 401


@pytest.mark.parametrize("cookie", ["", "x", "x" * 5000, "eyJ.x.y", "null", "\u00e9"])
def test_foreign_cookie_is_nobody_and_never_500(guarded, cookie):
    headers = {"Cookie": f"lmcache_admin_{guarded.target}={cookie}".encode().decode("latin-1")}
    assert guarded.request("GET", "/version", headers=headers).status == 401


def test_s9_session_ends_after_its_longest_life_and_when_it_lies_idle(monkeypatch):
    made = Sessions(["k" * 32])
    session = made.begin("ada", 1)
    text = made.write(session)
    assert made.read(text).user == "ada"
    for limit in ("ABSOLUTE", "IDLE"):
        with monkeypatch.context() as patch:
            patch.setattr(sessions, limit, -1.0)
            assert made.read(text) is None


def test_s66_session_from_the_future_is_refused_beyond_five_minutes():
    made = Sessions(["k" * 32])
    serializer = URLSafeSerializer(["k" * 32], salt=sessions.SALT, signer_kwargs=sessions.SIGNER)
    now = made.begin().began
    assert made.read(serializer.dumps(["id", "", 0, now, now + 200])) is not None
    assert made.read(serializer.dumps(["id", "", 0, now, now + 400])) is None


def test_s10_key_file_is_made_once_shared_and_rotated(tmp_path):
    path = tmp_path / "key"
    (first,) = signing_keys(str(path))
    assert signing_keys(str(path)) == [first]
    assert path.stat().st_mode & 0o777 == 0o600
    text = Sessions([first]).write(Sessions([first]).begin("ada"))
    private_files.write_private(str(path), f"{first}\n{'n' * 64}\n".encode())
    rotated = Sessions(signing_keys(str(path)))
    assert rotated.read(text).user == "ada"
    assert Sessions(["n" * 64]).read(text) is None


def test_s10_key_that_others_may_read_or_that_is_short_stops_the_start(tmp_path):
    path = tmp_path / "key"
    path.write_text("k" * 64)
    path.chmod(0o644)
    with pytest.raises(SettingsError, match="wanted: 0600"):
        signing_keys(str(path))
    path.write_text("short")
    path.chmod(0o600)
    with pytest.raises(SettingsError, match="too short"):
        signing_keys(str(path))


def test_s3_password_is_kept_as_a_salted_scrypt_hash_and_an_empty_one_is_refused():
    first, second = new_user("ada", "viewer", PASSWORD), new_user("ada", "viewer", PASSWORD)
    assert first.secret.startswith("scrypt$16384$8$1$")
    assert first.secret != second.secret
    assert PASSWORD not in first.line
    for bad in ("", "short"):
        with pytest.raises(ValueError, match="8 to"):
            new_user("ada", "viewer", bad)


def test_s6_unknown_name_runs_the_same_hash_as_a_known_one(monkeypatch):
    from lmcache_admin.security import users

    calls = []
    real = users.hashlib.scrypt

    def counted(data, **how):
        calls.append((how["n"], how["r"]))
        return real(data, **how)

    monkeypatch.setattr(users.hashlib, "scrypt", counted)
    known = (new_user("ada", "viewer", PASSWORD),)
    calls.clear()
    assert check_password(known, "ada", "wrong password") is None
    assert check_password(known, "eve", "wrong password") is None
    assert calls == [(16384, 8), (16384, 8)]


@pytest.mark.parametrize("line", ["ada", "ada:viewer:plain:1", "a b:viewer:x:1", "ada:root:x:1", "a:viewer:scrypt$1:x"])
def test_line_of_the_user_file_that_is_wrong_is_named(line):
    with pytest.raises(ValueError, match="line 1: "):
        parse_users(line)
