"""Who may run scripts, what the audit has of them, and how long they may take, in either mode (S51)."""

import hashlib
import json
import logging
import threading

import pytest

from lmcache_admin.declaration import ROLES
from lmcache_admin.operations.run_script import SWITCHED_OFF
from lmcache_admin.operations.script_fences import ScriptFences
from lmcache_admin.security.tokens import new_token

FORM = {"Content-Type": "multipart/form-data; boundary=XX"}


def form(script):
    """A multipart body with a script."""
    head = '--XX\r\nContent-Disposition: form-data; name="script"; filename="s.py"\r\n\r\n'
    return f"{head}{script}\r\n--XX--\r\n"


def run(running, script):
    return running.request("POST", "/run_script", form(script), FORM)


def run_as(running, token, script="result = 1", **headers):
    headers = {**FORM, **headers}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return running.request("POST", "/run_script", form(script), headers)


def latest(running):
    return running.get("/audit?limit=1").json()["entries"][0]


@pytest.fixture
def start(serve):
    """Start a server that runs scripts: `start(mode="process", imports=["json"], deadlines=...)`."""

    def start(mode="in_process", imports=("json", "collections.abc", "no_such_module_xyz"), **extra):
        extra["run_script_mode"] = mode
        return serve(run_script_api_enabled=True, script_allowed_imports=list(imports), extra=extra)

    return start


@pytest.fixture(params=["in_process", "process"])
def on(request, start):
    """A server that runs scripts, in each mode; they may import json and collections.abc."""
    return start(request.param)


@pytest.fixture
def tokens(tmp_path):
    """A token file, and role -> token."""
    made = {role: new_token(role, role) for role in ROLES}
    path = tmp_path / "tokens"
    path.write_text("".join(f"{token.line}\n" for _, token in made.values()))
    path.chmod(0o600)
    return path, {role: secret for role, (secret, _) in made.items()}


@pytest.fixture
def gate(start):
    """What a script in the process waits for; open at the end, so that no thread is left."""
    gate = threading.Event()
    yield gate
    gate.set()


def test_s51_while_off_it_is_404_for_every_role(serve, tokens):
    running = serve(extra={"auth": "token", "token_file": str(tokens[0])})
    for token in (None, "lmca_wrong", *tokens[1].values()):
        answer = run_as(running, token)
        assert (answer.status, answer.text) == (404, SWITCHED_OFF)


def test_s51_while_on_it_is_for_admins(start, tokens):
    running = start(auth="token", token_file=str(tokens[0]))
    statuses = [run_as(running, token).status for token in (None, "lmca_wrong", *tokens[1].values())]
    assert statuses == [401, 401, 403, 403, 200]


def test_s51_result_of_a_script_is_for_admins_also_as_a_job(start, tokens, eventually):
    running = start(auth="token", token_file=str(tokens[0]))
    begun = run_as(running, tokens[1]["admin"], "result = 'kept from others'", Prefer="respond-async")
    place = begun.headers["Location"]

    def get(path, role):
        return running.request("GET", path, headers={"Authorization": f"Bearer {tokens[1][role]}"})

    job = eventually(lambda: (told := get(place, "viewer").json())["ended"] and told)
    assert (job["state"], job["operation"], job["result"]) == ("done", "run a script", None)
    assert [get(f"{place}/result", role).status for role in ROLES] == [403, 403, 200]
    assert get(f"{place}/result", "admin").text == get(place, "admin").json()["result"] == "kept from others"


def test_s51_audit_has_the_digest_and_the_text_of_a_script(on):
    script = "password = 'hunter2'\nresult = 1"
    run(on, script)
    entry = latest(on)
    assert (entry["route"], entry["outcome"], entry["role"]) == ("/run_script", "done", "admin")
    digest = hashlib.sha256(script.encode()).hexdigest()
    text = "password = '******'\nresult = 1"
    assert entry["arguments"]["script"] == {"sha256": digest, "bytes": len(script), "text": text, "cut": None}


def test_s51_audit_says_where_a_long_script_is_cut(on):
    script = "result = 1\n" + "#" * 100_000
    run(on, script)
    told = latest(on)["arguments"]["script"]
    assert (told["sha256"], told["bytes"]) == (hashlib.sha256(script.encode()).hexdigest(), len(script))
    assert (told["text"], told["cut"]) == (script[:16_384], "the first 16384 bytes")


def test_s51_script_is_in_the_audits_file_before_it_runs(serve, tmp_path):
    file = tmp_path / "audit.log"
    running = serve(
        run_script_api_enabled=True, script_allowed_imports=["pathlib"], extra={"audit_file": str(file)}
    )
    script = f"import pathlib\nresult = pathlib.Path({str(file)!r}).read_bytes()"
    answer = run(running, script)
    assert '"kind":"intent"' in answer.text.replace(" ", "")
    assert hashlib.sha256(script.encode()).hexdigest() in answer.text
    assert '"kind":"outcome"' not in answer.text.replace(" ", "")


def test_s51_who_is_unknown_leaves_no_script_in_the_audit(start, tokens):
    running = start(auth="token", token_file=str(tokens[0]))
    run_as(running, "lmca_wrong", "result = 'planted'")
    run_as(running, tokens[1]["viewer"], "result = 'tried'")
    newest = running.server.service.audit.newest(2)
    assert [entry["arguments"].get("script", {}).get("text") for entry in newest] == ["result = 'tried'", None]


def test_s26_s51_secrets_in_a_result_or_an_error_are_masked(on):
    assert run(on, "result = {'password': 'hunter2', 'n': 1}").text == "{'password': '******', 'n': 1}"
    assert run(on, "raise_ = {}['password=hunter2']").text == "Error executing script: 'password=******'"


def test_s51_script_that_outlives_the_deadline_goes_on_as_the_job_that_504_names(start, gate, eventually):
    running = start(deadlines={"job": 3.0})
    running.server.app.state.gate = gate
    answer = run(running, "app.state.gate.wait()\nresult = 'late'")
    assert (answer.status, answer.json()["error"]) == (504, "Timed out: run a script")
    place = f"/jobs/{answer.json()['job']}"
    assert running.get(place).json()["state"] == "running"
    assert [job["operation"] for job in running.get("/jobs").json()["jobs"]] == ["run a script"]
    assert running.get("/version").status == 200
    gate.set()
    eventually(lambda: running.get(place).json()["state"] == "done")
    assert running.get(f"{place}/result").text == "late"


def test_s51_cancelled_job_in_process_ends_when_its_script_does(start, gate, eventually):
    """A thread cannot be killed: the documentation says so."""
    running = start()
    running.server.app.state.gate = gate
    headers = {**FORM, "Prefer": "respond-async"}
    place = running.request("POST", "/run_script", form("app.state.gate.wait()"), headers).headers["Location"]
    eventually(lambda: running.get(place).json()["state"] == "running")
    assert running.post(f"{place}/cancel").status == 200
    assert running.get(place).json()["state"] == "running"
    gate.set()
    eventually(lambda: running.get(place).json()["ended"])


@pytest.mark.parametrize("mode", ["in_process", "process"])
def test_s51_it_is_said_to_be_no_sandbox_wherever_it_appears(start, caplog, mode):
    with caplog.at_level(logging.INFO, "lmcache_admin"):
        running = start(mode)
    described = running.get("/openapi.json").json()["paths"]["/run_script"]["post"]["description"]
    assert "no sandbox" in described
    assert "cannot be ended" in described
    assert any("there is no sandbox" in record.getMessage() for record in caplog.records) is (mode == "in_process")


def test_s51_start_tries_what_keeps_scripts_in_and_says_what_there_is(start, caplog, eventually):
    with caplog.at_level(logging.INFO, "lmcache_admin"):
        running = start("process")
        eventually(lambda: any("processes of their own" in record.getMessage() for record in caplog.records))
    assert eventually(lambda: running.get("/readyz").json()["status"] == "ok")


def test_s51_readiness_says_what_scripts_are_not_kept_from(start, monkeypatch, eventually):
    def absent():
        raise OSError("there is no python3")

    # no other way leads to a machine without an interpreter
    monkeypatch.setattr("lmcache_admin.operations.script_process.interpreter", absent)
    running = start("process")
    eventually(lambda: running.get("/readyz").json()["status"] == "degraded")
    check = next(c for c in running.get("/readyz").json()["checks"] if c["name"] == "run_script")
    assert "no process could be started: there is no python3" in check["message"]
    assert run(running, "result = 1").status == 500
    assert running.get("/readyz").status == 200
    assert ScriptFences().problems == {}


def test_s51_script_apart_is_told_what_the_engine_is_like_and_no_secret(start):
    running = start("process", imports=["json"])
    running.manager.config.remote_url = "redis://bob:hunter2@cache:6379"
    told = json.loads(run(running, "import json\nresult = json.dumps(snapshot)").text)
    assert told["configuration"]["remote_url"] == "redis://bob:******@cache:6379"
    assert told["configuration"]["chunk_size"] == 16
    assert told["metadata"]["role"] == "worker"
    assert told["backends"] == {"classes": {"LocalCPUBackend": "LocalCPUBackend"}, "bypassed": []}
    assert (told["frozen"], told["hot_cache"]) == (False, True)
    assert set(told["version"]) == {"lmcache_admin", "lmcache"}
    assert told["status"]["status"] in ("ok", "starting", "degraded")


def test_s51_snapshot_has_a_reason_where_a_host_fails_and_null_where_it_lacks_a_part(start, serve):
    running = start("process", imports=["json"])

    def is_frozen():
        raise RuntimeError("password=hunter2")

    running.manager.lmcache_engine.is_frozen = is_frozen
    told = json.loads(run(running, "import json\nresult = json.dumps(snapshot)").text)
    assert told["frozen"] == {"error": "RuntimeError: password=******"}
    running = serve(
        role="scheduler",
        run_script_api_enabled=True,
        script_allowed_imports=["json"],
        extra={"run_script_mode": "process"},
    )
    told = json.loads(run(running, "import json\nresult = json.dumps(snapshot)").text)
    assert (told["backends"], told["frozen"]) == (None, None)


def test_s51_script_apart_is_ended_at_the_deadline_of_its_lane(start, eventually):
    running = start("process", deadlines={"job": 3.0})
    answer = run(running, "while True: x = 1")
    assert (answer.status, answer.json()["error"]) == (504, "Timed out: run a script")
    place = f"/jobs/{answer.json()['job']}"
    eventually(lambda: running.get(place).json()["state"] == "failed")
    assert running.get(f"{place}/result").text == "Error executing script: ended after 3 s"


def test_s51_script_apart_is_ended_when_its_job_is_cancelled(start, eventually):
    running = start("process")
    headers = {**FORM, "Prefer": "respond-async"}
    place = running.request("POST", "/run_script", form("while True: x = 1"), headers).headers["Location"]
    eventually(lambda: running.get(place).json()["state"] == "running")
    assert running.post(f"{place}/cancel").status == 200
    eventually(lambda: running.get(place).json()["state"] == "cancelled")
    assert run(running, "result = 1").text == "1"


def test_s51_service_answers_while_scripts_apart_run_wild(start):
    running = start("process", deadlines={"job": 3.0})
    asked = threading.Thread(target=run, args=(running, "while True: x = [1] * 1000000"))
    asked.start()
    for path in ("/healthz", "/version", "/metrics", "/freeze/status"):
        assert running.get(path).status == 200
    asked.join()
