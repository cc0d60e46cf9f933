"""What the audit knows of a request: caller, arguments, before and after; whatever a client sends (S12, S27, S32)."""

import hashlib
import json
import logging
import os

import pytest

from lmcache_admin.security.audit_verify import verify_files
from lmcache_admin.security.tokens import new_token

ASYNC = {"Prefer": "respond-async"}


@pytest.fixture(params=["memory", "file"])
def audited(request, serve, tmp_path):
    """Start a server whose audit is in memory, or in a file."""

    def start(**options):
        extra = dict(options.pop("extra", {}))
        if request.param == "file":
            extra["audit_file"] = str(tmp_path / "audit.log")
        return serve(extra=extra, **options)

    return start


@pytest.fixture
def token_file(tmp_path):
    """A token file with one viewer; (path, secret)."""
    secret, token = new_token("reader", "viewer")
    path = tmp_path / "tokens"
    path.write_text(f"{token.line}\n")
    path.chmod(0o600)
    return path, secret


@pytest.fixture(autouse=True)
def levels():
    """Set the levels of this file's loggers back."""
    yield
    for name in ("tests.facts.g", "tests.facts.p"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def entries(running, limit=100):
    return running.server.service.audit.newest(limit)


def changed(running, eventually):
    """Before and after of the newest entry, once it has ended."""
    entry = eventually(lambda: next((one for one in entries(running, 1) if one["outcome"] != "intended"), None))
    assert entry["outcome"] == "done", entry
    return entry["before"], entry["after"]


LEVEL = "/loglevel?logger_name=tests.facts.{}&level=ERROR"
BACKENDS = {"backends": {"LocalCPUBackend": "LocalCPUBackend"}}


@pytest.mark.parametrize(
    ("method", "path", "body", "before", "after"),
    [
        ("PUT", "/freeze/enable", None, {"freeze": False}, {"freeze": True}),
        ("PUT", "/freeze/disable", None, {"freeze": False}, {"freeze": False}),
        ("PUT", "/hot_cache/disable", None, {"hot_cache": True}, {"hot_cache": False}),
        ("GET", LEVEL.format("g"), None, {"tests.facts.g": "NOTSET"}, {"tests.facts.g": "ERROR"}),
        ("POST", LEVEL.format("p"), None, {"tests.facts.p": "NOTSET"}, {"tests.facts.p": "ERROR"}),
        ("POST", "/conf", {"min_retrieve_tokens": 9, "no": 1}, {"min_retrieve_tokens": 0}, {"min_retrieve_tokens": 9}),
        (
            "PUT",
            "/bypass/add?backend_name=LocalCPUBackend",
            None,
            {"bypassed": {"LocalCPUBackend": False}},
            {"bypassed": {"LocalCPUBackend": True}},
        ),
        ("DELETE", "/cache/clear", None, None, {"num_removed": 0}),
        ("POST", "/backends", None, BACKENDS, BACKENDS),
    ],
)
def test_s27_change_tells_what_was_so_before_and_what_is_so_after(
    audited, eventually, method, path, body, before, after
):
    running = audited()
    answer = running.request(method, path, json.dumps(body) if body else None)
    assert answer.status == 200
    assert changed(running, eventually) == (before, after)


@pytest.mark.parametrize("headers", [{}, ASYNC])
def test_s27_job_tells_before_and_after_once_it_has_ended(audited, eventually, headers):
    running = audited()
    answer = running.request("POST", "/backends/LocalCPUBackend/recreate", headers=headers)
    assert answer.status == (202 if headers else 200)
    assert changed(running, eventually) == (BACKENDS, BACKENDS)


def test_s27_host_that_cannot_say_what_was_so_is_changed_all_the_same(audited, eventually):
    running = audited()

    def is_frozen():
        raise RuntimeError("ask me not")

    running.manager.lmcache_engine.is_frozen = is_frozen
    assert running.put("/freeze/enable").status == 200
    assert changed(running, eventually) == ({"freeze": None}, {"freeze": True})


def test_s27_secrets_in_arguments_before_and_after_are_masked(audited, eventually, tmp_path):
    running = audited()
    for password in ("first-hunter2", "second-hunter2"):
        url = f"redis://ada:{password}@store:6379"
        assert running.post("/conf", json.dumps({"lmcache_instance_id": url})).status == 200
    changed(running, eventually)
    assert "hunter2" not in json.dumps(entries(running))
    assert "redis://" in json.dumps(entries(running)[0]["before"])
    for file in tmp_path.glob("audit.log*"):
        assert b"hunter2" not in file.read_bytes()


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "image/png", "multipart/form-data"]
)
def test_s27_body_is_told_whatever_its_type_says_it_is(audited, content_type):
    running = audited()
    assert running.post("/conf", '{"min_retrieve_tokens": 7}', content_type).status == 200
    assert entries(running)[0]["arguments"] == {"body": {"min_retrieve_tokens": 7}}


def test_s27_of_a_large_body_its_digest_is_told(audited):
    running = audited()
    body = json.dumps({"blend_special_str": "x" * 100_000})
    running.post("/conf", body)
    digest = hashlib.sha256(body.encode()).hexdigest()
    assert entries(running)[0]["arguments"] == {"body": {"bytes": len(body), "sha256": digest}}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("read_only", [False, True])
def test_s27_number_that_json_does_not_have_leaves_the_audit_readable(audited, number, read_only):
    running = audited(extra={"read_only": read_only})
    answer = running.post("/conf", f'{{"max_local_cpu_size": {number}, "{number}": [{number}]}}')
    assert answer.status == (403 if read_only else 400)
    listed = running.get("/audit")
    assert listed.status == 200
    assert set(listed.json()["entries"][0]["arguments"]["body"]) == {"max_local_cpu_size", number}


def test_s27_lone_surrogates_and_control_characters_leave_the_chain_whole(serve, tmp_path):
    path = tmp_path / "audit.log"
    running = serve(extra={"audit_file": str(path), "read_only": True})
    for query in ("%ed%a0%80=%ff%fe", "a=%0d%0a%00%1b", "%F0%9F%98%80=1"):
        assert running.put(f"/freeze/enable?{query}").status == 403
    assert verify_files(path) == (1, 3)
    assert len(path.read_bytes().splitlines()) == 4


def test_s12_process_at_the_other_end_of_the_socket_is_named(audited):
    running = audited()
    running.put("/freeze/enable")
    running.request("PUT", "/freeze/enable", headers={"Origin": "http://evil.example"})
    for entry in entries(running)[:2]:
        assert (entry["uid"], entry["gid"], entry["pid"]) == (os.getuid(), os.getgid(), os.getpid())
        assert entry["address"] == "unix"


def test_s12_process_is_named_where_a_token_says_who_it_is(serve, token_file):
    path, secret = token_file
    running = serve(extra={"auth": "token", "token_file": str(path)})
    headers = {"Authorization": f"Bearer {secret}"}
    assert running.request("PUT", "/freeze/enable", headers=headers).status == 403
    entry = entries(running)[0]
    assert (entry["actor"], entry["pid"], entry["address"]) == ("token reader", os.getpid(), "unix")


def test_s27_path_that_nobody_serves_is_masked_and_cut(audited):
    running = audited(extra={"auth": "off"})
    secret, _ = new_token("a", "viewer")
    for path in (f"/version/{secret}", "/" + "x" * 5000):
        assert running.request("GET", path, headers={"Origin": "http://evil.example"}).status == 403
    long, masked = (entry["route"] for entry in entries(running)[:2])
    assert (masked, len(long)) == ("/version/******", 500)


def test_s27_query_and_body_of_a_stranger_are_not_looked_at_beyond_a_bound(serve, token_file):
    running = serve(tcp=True, extra={"auth": "token", "token_file": str(token_file[0])})
    assert running.put("/freeze/enable?" + "a" * 5000).status == 401
    assert entries(running)[0]["arguments"] == {"query": "(5000 letters)"}
    assert running.put("/freeze/enable?" + "a&" * 5000).status == 401
    assert entries(running)[0]["arguments"] == {"query": "(10000 letters)"}
    assert running.post("/conf?a=1", json.dumps({"b": 2})).status == 401
    assert entries(running)[0]["arguments"] == {"a": "1"}


def test_s27_arguments_of_a_refused_try_are_cut(audited):
    running = audited(extra={"read_only": True})
    running.put("/freeze/enable?a=" + "b" * 20_000)
    cut = entries(running)[0]["arguments"]
    assert (len(cut["shortened"]), cut["letters"]) == (2048, 20_009)


def test_s27_flood_of_strangers_hides_nobody_who_is_known(serve, token_file, tmp_path):
    path = tmp_path / "audit.log"
    running = serve(extra={"auth": "token", "token_file": str(token_file[0]), "audit_file": str(path)})
    connection = running.connection()
    for _ in range(300):
        connection.request("PUT", "/freeze/enable")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 401
    connection.close()
    headers = {"Authorization": f"Bearer {token_file[1]}"}
    assert running.request("PUT", "/freeze/enable", headers=headers).status == 403
    lines = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    assert (lines[-1]["actor"], lines[-1]["status"]) == ("token reader", 403)
    told = sum(line.get("unrecorded", 0) for line in lines)
    assert told + len(lines) == 301
    assert len(lines) < 250
    name = running.server.server_log_info
    series = f'lmcache_admin_audit_lost_total{{reason="flood",server="{name}"}} {told}.0'
    assert series in running.request("GET", "/metrics", headers=headers).text


def test_s33_strangers_do_not_push_changes_out_of_memory(serve, token_file):
    roles = {"socket_users": {str(os.getuid()): "admin"}}
    running = serve(extra={"auth": "token", "token_file": str(token_file[0]), **roles})
    audit = running.server.service.audit
    running.put("/freeze/enable")
    for _ in range(3000):
        audit._floods[False]._left = 100.0
        facts = {"actor": "nobody", "role": "", "address": "", "uid": None, "operation": "", "arguments": {}}
        audit.refuse(401, method="GET", route="/", **facts)
    assert any(entry["route"] == "/freeze/enable" for entry in audit.newest(1000))
    assert len(audit.newest(1000)) < 300


def test_s32_lines_that_the_file_does_not_take_are_counted(serve, tmp_path):
    running = serve(extra={"audit_file": str(tmp_path / "audit.log"), "audit_required": False})
    file = running.server.service.audit._file
    os.close(file._file)
    file._file = os.open("/dev/full", os.O_RDWR)
    file._inode, file._end = (tmp_path / "audit.log").stat().st_ino, (tmp_path / "audit.log").stat().st_size
    assert running.put("/freeze/enable").status == 200
    server = running.server.server_log_info
    assert f'lmcache_admin_audit_lost_total{{reason="file",server="{server}"}} ' in running.get("/metrics").text
    assert running.server.service.audit.counts()["file"] >= 1


def test_methods_that_nobody_knows_are_counted_under_one_name(service):
    for number in range(20):
        service.request(f"BREW{number}", "/version")
    text = service.get("/metrics").text
    assert "BREW" not in text
    assert 'method="other"' in text
