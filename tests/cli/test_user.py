"""`lmcache-admin user`, as an operator uses it beside a running service (S3, S4, S5, S10, S11)."""

import json
import stat
import subprocess
import sys

import pytest

from lmcache_admin.security import private_files

PASSWORD = "correct horse battery"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "users"


@pytest.fixture
def user(file, tmp_path):
    """`user("add", "ada", "--role", "viewer", password="...")`: the command, with its password on standard input."""

    def call(*arguments, password=""):
        command = [sys.executable, "-m", "lmcache_admin", "user", *arguments, "--file", str(file)]
        return subprocess.run(command, input=f"{password}\n", capture_output=True, text=True, check=False, timeout=60)

    return call


@pytest.fixture(autouse=True)
def look_at_once(monkeypatch):
    """Look at a file of credentials with each request: the time-out is not what is tested here."""
    monkeypatch.setattr(private_files, "LOOK_SECONDS", 0.0)


def log_in(running, password=PASSWORD):
    body = json.dumps({"name": "ada", "password": password})
    answer = running.request("POST", "/session", body, {"Content-Type": "application/json"})
    return answer.status, (answer.headers["Set-Cookie"] or "").partition(";")[0]


def version(running, cookie):
    return running.request("GET", "/version", headers={"Cookie": cookie}).status


def test_s3_user_is_made_with_a_hash_and_without_a_word_on_the_terminal(user, file):
    made = user("add", "ada", "--role", "operator", password=PASSWORD)
    assert (made.returncode, made.stdout, made.stderr) == (0, "", "")
    assert PASSWORD not in file.read_text()
    assert file.read_text().startswith("ada:operator:scrypt$16384$8$1$")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert user("list").stdout == "ada\toperator\n"


@pytest.mark.parametrize("password", ["", "short", "x" * 1025])
def test_s3_password_that_is_empty_short_or_endless_is_refused(user, file, password):
    refused = user("add", "ada", "--role", "operator", password=password)
    assert (refused.returncode, "8 to 1024 letters" in refused.stderr) == (1, True)
    assert not file.exists()


def test_s3_there_is_no_default_user(serve, user, file):
    private_files.write_private(str(file), b"")
    running = serve(tcp=True, extra={"auth": "token", "user_file": str(file)})
    for name in ("admin", "root", "lmcache", "guest"):
        for password in ("admin", "password", name):
            body = json.dumps({"name": name, "password": password})
            assert running.request("POST", "/session", body, {"Content-Type": "application/json"}).status in (401, 429)


def test_s11_another_password_ends_all_sessions_and_the_old_one_is_no_good(serve, user, file):
    user("add", "ada", "--role", "operator", password=PASSWORD)
    running = serve(tcp=True, extra={"auth": "token", "user_file": str(file)})
    sessions = [log_in(running)[1] for _ in range(2)]
    assert [version(running, cookie) for cookie in sessions] == [200, 200]
    assert user("password", "ada", password="another good password").returncode == 0
    assert [version(running, cookie) for cookie in sessions] == [401, 401]
    assert log_in(running)[0] == 401
    assert log_in(running, "another good password")[0] == 200


def test_s5_user_who_is_removed_is_refused_and_so_is_their_session(serve, user, file):
    user("add", "ada", "--role", "operator", password=PASSWORD)
    running = serve(tcp=True, extra={"auth": "token", "user_file": str(file)})
    cookie = log_in(running)[1]
    assert user("remove", "ada").returncode == 0
    assert version(running, cookie) == 401
    assert log_in(running)[0] == 401


def test_s11_user_who_was_removed_and_made_again_has_no_old_session(serve, user, file):
    user("add", "ada", "--role", "admin", password=PASSWORD)
    running = serve(tcp=True, extra={"auth": "token", "user_file": str(file)})
    cookie = log_in(running)[1]
    user("remove", "ada")
    user("add", "ada", "--role", "viewer", password="another good password")
    assert version(running, cookie) == 401


def test_s10_s65_session_goes_on_in_another_process_and_after_a_restart(serve, user, file, tmp_path):
    user("add", "ada", "--role", "operator", password=PASSWORD)
    extra = {"auth": "token", "user_file": str(file), "session_key_file": str(tmp_path / "session.key")}
    first, second = serve(extra=extra), serve(worker_id=1, extra=extra)
    cookie = log_in(first)[1]
    assert version(second, cookie) == 200
    first.server.stop()
    assert version(serve(worker_id=2, extra=extra), cookie) == 200
    assert version(serve(worker_id=3, extra={**extra, "session_key_file": None}), cookie) == 401


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("add", "a:b", "--role", "viewer"), "the name may have"),
        (("add", "ada", "--role", "viewer"), "there is a user 'ada' already"),
        (("password", "eve"), "there is no user 'eve'"),
        (("remove", "eve"), "there is no user 'eve'"),
    ],
)
def test_wrong_use_is_one_line_and_changes_nothing(user, file, arguments, said):
    user("add", "ada", "--role", "viewer", password=PASSWORD)
    before = file.read_bytes()
    refused = user(*arguments, password=PASSWORD)
    assert refused.returncode != 0
    assert said in refused.stderr
    assert file.read_bytes() == before


def test_s4_file_that_others_may_read_is_not_touched(user, file):
    user("add", "ada", "--role", "viewer", password=PASSWORD)
    file.chmod(0o640)
    before = file.read_bytes()
    refused = user("password", "ada", password="another good password")
    assert (refused.returncode, "wanted: 0600" in refused.stderr) == (1, True)
    assert file.read_bytes() == before
