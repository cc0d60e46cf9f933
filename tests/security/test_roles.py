"""Roles at the edges: routes that declare none, jobs that begin late, keys that nobody may set (S14, S16, S20, S37)."""

import json
import os
import threading

import pytest

from lmcache_admin.security import private_files
from lmcache_admin.security.tokens import new_token
from lmcache_admin.security.users import new_user

PASSWORD = "correct horse battery"
IMMUTABLE = "Config is not mutable at runtime"
#: An operator's file: one view that declares nothing, one whose declaration names no role.
EXTENSION = """
from flask import Blueprint
from lmcache_admin.declaration import Declaration
blueprint = Blueprint("theirs", __name__)

@blueprint.get("/theirs/plain")
def plain():
    return "served"

@blueprint.get("/theirs/without")
def without():
    return "served"

without.declaration = Declaration(operation="do something", role="", lane="light")
"""


@pytest.fixture(autouse=True)
def look_at_once(monkeypatch):
    """Look at a file of credentials with each request: the time-out is not what is tested here."""
    monkeypatch.setattr(private_files, "LOOK_SECONDS", 0.0)


@pytest.fixture
def extension(tmp_path):
    folder = tmp_path / "extension" / "common"
    folder.mkdir(parents=True)
    (folder / "theirs_api.py").write_text(EXTENSION)
    return {"blueprint_paths": [str(folder.parent)]}


@pytest.fixture
def tokens(tmp_path):
    """A token file with an operator, a viewer and an admin; (path, headers by role)."""
    made = {role: new_token(role, role) for role in ("viewer", "operator", "admin")}
    text = "".join(f"{token.line}\n" for _, token in made.values())
    private_files.write_private(str(tmp_path / "tokens"), text.encode())
    return tmp_path / "tokens", {role: {"Authorization": f"Bearer {secret}"} for role, (secret, _) in made.items()}


def listed(running, path):
    return next(route for route in running.get("/blueprints").json()["routes"] if route["path"] == path)


@pytest.mark.parametrize("mode", ["local", "off"])
def test_s14_route_without_a_role_is_refused_for_all_and_listed_as_such(serve, extension, mode):
    running = serve(extra={**extension, "auth": mode})  # the caller is admin in both
    answer = running.get("/theirs/without")
    assert answer.status == 403
    assert answer.json()["message"] == "This route declares no role, so nobody may call it."
    assert listed(running, "/theirs/without")["role"] == ""


def test_s14_view_that_declares_nothing_is_for_admins(serve, extension, client):
    running = serve(tcp=True, extra=extension)  # the caller is operator
    assert running.get("/theirs/plain").status == 403
    assert listed(running, "/theirs/plain")["role"] == "admin"


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "POST"])
def test_s16_other_methods_of_a_route_give_no_more(serve, tokens, method):
    running = serve(extra={"auth": "token", "token_file": str(tokens[0])})
    for path in ("/audit", "/freeze/enable", "/cache/clear"):
        answer = running.request(method, path, headers=tokens[1]["viewer"])
        assert answer.status in (403, 405)
    assert running.request("GET", "/freeze/status", headers=tokens[1]["viewer"]).json()["freeze"] is False


def held(running):
    """Hold all job threads, so that what comes waits; what lets them go."""
    entered, release = threading.Event(), threading.Event()
    engine = running.manager.lmcache_engine

    def clear(*_, **__):
        entered.set()
        release.wait(60)
        return 0

    engine.clear = clear
    return entered, release


@pytest.mark.parametrize("credentials", ["token", "session"])
def test_s16_who_lost_their_role_while_a_job_waited_does_not_get_it_done(
    serve, tokens, tmp_path, credentials, eventually
):
    users = tmp_path / "users"
    private_files.write_private(str(users), f"{new_user('ada', 'operator', PASSWORD).line}\n".encode())
    files = {"token_file": str(tokens[0]), "user_file": str(users), "lane_threads": {"job": 1}}
    running = serve(tcp=True, extra={"auth": "token", **files})
    entered, release = held(running)
    headers = {**tokens[1]["operator"], "Prefer": "respond-async"}
    assert running.request("DELETE", "/cache/clear", headers=headers).status == 202
    assert entered.wait(30)
    if credentials == "session":
        body = json.dumps({"name": "ada", "password": PASSWORD})
        told = running.request("POST", "/session", body, {"Content-Type": "application/json"})
        cookie = told.headers["Set-Cookie"].partition(";")[0]
        headers = {"Cookie": cookie, "X-CSRF-Token": told.json()["csrf_token"], "Prefer": "respond-async"}
    waiting = running.request("POST", "/backends/LocalCPUBackend/recreate", headers=headers)
    assert (waiting.status, waiting.json()["state"]) == (202, "queued")
    private_files.write_private(str(users), b"")
    private_files.write_private(str(tokens[0]), f"{new_token('other', 'viewer')[1].line}\n".encode())
    release.set()
    job = running.server.service.jobs.find(waiting.json()["id"])
    assert job.wait(30)
    assert (job.state, job.outcome.status) == ("failed", 403)
    entry = eventually(lambda: [e for e in running.server.service.audit.newest(20) if e["status"] == 403])
    assert entry[0]["outcome"] == "failed"


def test_s16_who_was_known_by_the_socket_and_has_gone_gets_the_job_done(serve, tokens):
    extra = {"auth": "token", "token_file": str(tokens[0]), "socket_users": {str(os.getuid()): "operator"}}
    running = serve(extra={**extra, "lane_threads": {"job": 1}})
    entered, release = held(running)
    prefer = {"Prefer": "respond-async"}
    assert running.request("DELETE", "/cache/clear", headers=prefer).status == 202
    assert entered.wait(30)
    waiting = running.request("POST", "/backends/LocalCPUBackend/recreate", headers=prefer)  # and the connection ends
    assert waiting.json()["state"] == "queued"
    release.set()
    job = running.server.service.jobs.find(waiting.json()["id"])
    assert job.wait(30)
    assert (job.state, job.outcome.status) == ("done", 200)


@pytest.mark.parametrize("mode", ["local", "token", "off"])
def test_s20_nobody_sets_what_decides_who_may_what(serve, tokens, mode):
    running = serve(extra={"auth": mode, "token_file": str(tokens[0])})
    headers = {**tokens[1]["admin"], "Content-Type": "application/json"} if mode == "token" else {}
    conf = json.loads(running.request("GET", "/conf", headers=headers).text)
    keys = [key for key in conf if key.startswith("internal_api_server_") or "script" in key or "plugin" in key]
    keys += [key for key in conf if key.endswith(("_url", "_path"))] + ["extra_config", "local_disk"]
    keys += ["internal_api_server_auth", "internal_api_server_read_only", "internal_api_server_audit_file"]
    answer = running.request("POST", "/conf", json.dumps(dict.fromkeys(keys, "x")), headers)
    assert (answer.status, answer.json()) == (400, {"updated": {}, "errors": dict.fromkeys(keys, IMMUTABLE)})
    assert json.loads(running.request("GET", "/conf", headers=headers).text) == conf


@pytest.mark.parametrize(
    "key",
    ["Internal_api_server_auth", " run_script_api_enabled", "run_script_api_enabled ", "EXTRA_CONFIG", "extra_config.x",
     "run_script_api_enabled\0", "run\u200bscript_api_enabled", "__class__", "_config_definitions", "to_dict"],
)  # fmt: skip
def test_s20_no_other_spelling_of_a_key_sets_it(service, key):
    before = service.get("/conf").body
    answer = service.post("/conf", json.dumps({key: True}))
    assert answer.status == 400
    assert service.get("/conf").body == before
    assert service.post("/run_script").status == 404


def test_s20_engine_that_refuses_one_key_has_the_others_set(service):
    config = service.manager.config
    refusing = type("Refusing", (type(config),), {"__setattr__": refuse("blend_min_tokens")})
    config.__class__ = refusing
    body = {"min_retrieve_tokens": 5, "blend_min_tokens": 6, "blocking_timeout_secs": 7}
    answer = service.post("/conf", json.dumps(body))
    assert answer.status == 200
    assert answer.json() == {
        "updated": {"min_retrieve_tokens": 5, "blocking_timeout_secs": 7},
        "errors": {"blend_min_tokens": "Failed to set config value"},
    }


def refuse(refused):
    def __setattr__(self, name, value):
        if name == refused:
            raise RuntimeError("not while serving")
        object.__setattr__(self, name, value)

    return __setattr__


def test_s20_configuration_answers_what_is_set_and_it_is_one_entry_of_the_audit(service):
    body = {"min_retrieve_tokens": 5, "blocking_timeout_secs": 7, "run_script_api_enabled": True}
    answer = service.post("/conf", json.dumps(body)).json()
    assert answer["updated"] == {"min_retrieve_tokens": 5, "blocking_timeout_secs": 7}
    entry = service.get("/audit").json()["entries"][0]
    assert entry["before"] == {"min_retrieve_tokens": 0, "blocking_timeout_secs": 10}
    assert entry["after"] == answer["updated"]


CSRF = ["", "x", "null", "0" * 64, "\u00e9", "x" * 10_000]


@pytest.mark.parametrize("given", CSRF)
def test_s37_csrf_token_that_is_not_the_sessions_is_403_and_never_500(serve, given):
    running = serve(tcp=True)
    page = {"Sec-Fetch-Site": "same-origin"}
    told = running.request("GET", "/session", headers=page)
    cookie = {**page, "Cookie": told.headers["Set-Cookie"].partition(";")[0]}
    given = given.encode().decode("latin-1")
    assert running.request("PUT", "/freeze/enable", headers={**cookie, "X-CSRF-Token": given}).status == 403
    fitting = {**cookie, "X-CSRF-Token": told.json()["csrf_token"]}
    assert running.request("PUT", "/freeze/enable", headers=fitting).status == 200
    assert running.request("PUT", "/freeze/disable", headers={**fitting, "Cookie": "x=y"}).status == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_s35_foreign_page_with_cookie_and_token_of_a_session_changes_nothing(serve, headers):
    running = serve(tcp=True)
    told = running.request("GET", "/session", headers={"Sec-Fetch-Site": "same-origin"})
    stolen = {"Cookie": told.headers["Set-Cookie"].partition(";")[0], "X-CSRF-Token": told.json()["csrf_token"]}
    assert running.request("PUT", "/freeze/enable", headers={**stolen, **headers}).status == 403
    assert running.get("/freeze/status").json()["freeze"] is False
