"""`lmcache-admin token` and `lmcache-admin audit`, as an operator uses them beside a running service."""

import json
import stat

import pytest


@pytest.fixture
def file(tmp_path):
    return tmp_path / "tokens"


def test_s2_token_is_printed_once_and_the_file_holds_its_digest(run, file):
    made = run("token", "add", "grafana", "--role", "viewer", "--days", "30", "--file", str(file))
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.startswith("lmca_")
    assert made.stdout.strip() not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    listed = run("token", "list", "--file", str(file)).stdout.split("\t")
    assert listed[:2] == ["grafana", "viewer"]
    assert listed[2].strip().endswith("Z")


def test_s5_token_is_made_used_and_revoked_while_the_service_runs(run, serve, file, eventually):
    run("token", "add", "first", "--role", "viewer", "--file", str(file))
    running = serve(tcp=True, extra={"auth": "token", "token_file": str(file)})
    secret = run("token", "add", "ops", "--role", "operator", "--file", str(file)).stdout.strip()
    url = f"http://127.0.0.1:{running.target}"

    def exit_code():
        return run("api", "PUT", "/freeze/enable", "--url", url, LMCACHE_ADMIN_TOKEN=secret).returncode

    eventually(lambda: exit_code() == 0)
    assert run("token", "revoke", "ops", "--file", str(file)).returncode == 0
    eventually(lambda: exit_code() == 4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("add", "a b", "--role", "viewer"), "the name may have"),
        (("add", "first", "--role", "viewer"), "there is a token 'first' already"),
        (("add", "x", "--role", "root"), "'root' is not one of"),
        (("revoke", "nobody"), "there is no token 'nobody'"),
    ],
)
def test_wrong_use_is_one_line_and_changes_nothing(run, file, arguments, said):
    run("token", "add", "first", "--role", "viewer", "--file", str(file))
    before = file.read_bytes()
    refused = run("token", *arguments, "--file", str(file))
    assert refused.returncode != 0
    assert said in refused.stderr
    assert file.read_bytes() == before


def test_s4_file_that_others_may_read_is_not_touched(run, file):
    run("token", "add", "first", "--role", "viewer", "--file", str(file))
    file.chmod(0o644)
    refused = run("token", "add", "second", "--role", "viewer", "--file", str(file))
    assert (refused.returncode, "wanted: 0600" in refused.stderr) == (1, True)


def test_without_a_file_it_says_how_to_name_one(run):
    refused = run("token", "list")
    assert (refused.returncode, "internal_api_server_token_file" in refused.stderr) == (2, True)


def test_s28_verify_says_that_all_is_well_and_names_a_changed_line(run, serve, tmp_path, eventually):
    path = tmp_path / "audit.log"
    running = serve(extra={"audit_file": str(path)})
    running.put("/freeze/enable")
    eventually(lambda: len(path.read_bytes().splitlines()) == 3)
    good = run("audit", "verify", "--file", str(path))
    assert (good.returncode, good.stdout) == (0, f"{path}: lines 1 to 2 are as they were written\n")
    text = path.read_text().splitlines(keepends=True)
    record = json.loads(text[1])
    text[1] = text[1].replace(record["actor"], "uid 4711")
    path.write_text("".join(text))
    bad = run("audit", "verify", "--file", str(path))
    assert (bad.returncode, f"{path}:2" in bad.stderr) == (1, True)
