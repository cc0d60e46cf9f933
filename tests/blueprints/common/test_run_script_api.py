"""POST /run_script: off unless a setting switches it on, admin only, few builtins, in either mode (S51)."""

import pytest

TEXT = "text/plain; charset=utf-8"
DISABLED = (
    "The /run_script API is disabled. It executes caller-supplied code in-process, so it is off by default; enable it "
    "explicitly with run_script_api_enabled (LMCACHE_RUN_SCRIPT_API_ENABLED=true, or --run-script-api-enabled on the "
    "standalone server) and only on a trusted network."
)


def form(script, *, field="script", filename="s.py", boundary="XX"):
    """A multipart body with one part."""
    name = f'; filename="{filename}"' if filename else ""
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"{name}\r\n\r\n'
    return head.encode() + script.encode() + f"\r\n--{boundary}--\r\n".encode()


def run(running, script, content_type="multipart/form-data; boundary=XX", **options):
    return running.post("/run_script", form(script, **options), content_type)


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




def test_s51_it_is_off_by_default(service):
    answer = run(service, "result = 1")
    assert (answer.status, answer.type, answer.text) == (404, TEXT, DISABLED)


def test_s51_while_off_nothing_else_is_looked_at(service):
    assert service.post("/run_script").text == DISABLED
    assert service.post("/run_script", b"junk", "multipart/form-data").text == DISABLED


def test_s51_configuration_api_cannot_switch_it_on(service):
    changed = service.post("/conf", '{"run_script_api_enabled": true, "script_allowed_imports": ["os"]}')
    assert changed.status == 400
    assert set(changed.json()["errors"].values()) == {"Config is not mutable at runtime"}
    assert run(service, "result = 1").status == 404


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("result = 6 * 7", "42"),
        ("result = None", "None"),
        ("x = 1", "Script executed successfully"),
        ("", "Script executed successfully"),
        ("result = list(dict(a=1)) + [str(int(float('2.0')))]", "['a', '2']"),
        ("import json\nresult = json.dumps([1])", "[1]"),
        ("from json import dumps\nresult = dumps({})", "{}"),
        ("import collections.abc\nresult = collections.Mapping", "<class 'collections.abc.Mapping'>"),
        ("result = 'Z\u00fcrich'", "Z\u00fcrich"),
    ],
)
def test_s51_script_that_ends_well_is_200_with_its_result(on, script, text):
    answer = run(on, script)
    assert (answer.status, answer.type, answer.text) == (200, TEXT, text)


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("result = app.state.lmcache_adapter.lmcache_engine.is_frozen()", "False"),
        ("result = app.state.lmcache_controller_manager", "None"),
    ],
)
def test_script_in_process_has_the_engine_in_its_hands(start, script, text):
    answer = run(start(), script)
    assert (answer.status, answer.text) == (200, text)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("1 / 0", "division by zero"),
        ("result = len([])", "name 'len' is not defined"),
        ("open('/etc/passwd')", "name 'open' is not defined"),
        ("raise Exception('x')", "name 'Exception' is not defined"),
        ("class A: pass", "__build_class__ not found"),
        ("import os", "Import of 'os' is not allowed"),
        ("import json.decoder", "Import of 'json.decoder' is not allowed"),
        ("import no_such_module_xyz", "Import of 'no_such_module_xyz' is not allowed"),
        ("def f(): return 1\ndef g(): return f()\nresult = g()", "name 'f' is not defined"),
        ("this is no python", "invalid syntax (<string>, line 1)"),
    ],
)
def test_s51_script_that_fails_is_500_with_the_reason(on, script, why):
    answer = run(on, script)
    assert (answer.status, answer.type, answer.text) == (500, TEXT, f"Error executing script: {why}")
    assert on.get("/healthz").status == 200


def test_s52_script_that_ends_the_process_ends_only_itself(on):
    script = (
        "for c in ().__class__.__base__.__subclasses__():\n  if c.__name__ == 'BaseException':\n    "
        "[e for e in c.__subclasses__() if e.__name__ == 'SystemExit'][0]\n    raise "
        "[e for e in c.__subclasses__() if e.__name__ == 'SystemExit'][0]('leave')"
    )
    answer = run(on, script)
    assert (answer.status, answer.text) == (500, "Error executing script: leave")
    assert on.get("/healthz").status == 200


def test_print_goes_to_standard_output_and_not_into_the_answer(start, capfd):
    assert run(start(), "print('seen on stdout')").text == "Script executed successfully"
    assert "seen on stdout" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (None, None),
        (form("result = 1", field="other"), "multipart/form-data; boundary=XX"),
        (form("result = 1", filename=None), "multipart/form-data; boundary=XX"),
        (b'{"script": "result = 1"}', "application/json"),
        (b"script=result+%3D+1", "application/x-www-form-urlencoded"),
    ],
)
def test_request_without_a_file_is_400(on, body, content_type):
    answer = on.post("/run_script", body, content_type)
    assert (answer.status, answer.type, answer.text) == (400, TEXT, "No script file provided")


@pytest.mark.parametrize(
    ("content_type", "body", "detail"),
    [
        ("multipart/form-data", form("result = 1"), "Missing boundary in multipart."),
        ("multipart/form-data; boundary=XX", b"garbage", "Invalid multipart data."),
    ],
)
def test_broken_multipart_is_400_with_detail(on, content_type, body, detail):
    answer = on.post("/run_script", body, content_type)
    assert (answer.status, answer.type, answer.json()) == (400, "application/json", {"detail": detail})


def test_last_of_two_files_runs(on):
    first = form("result = 1").removesuffix(b"--XX--\r\n")
    assert on.post("/run_script", first + form("result = 2"), "multipart/form-data; boundary=XX").text == "2"


def test_s51_operator_over_tcp_is_refused_and_nothing_runs(serve, tmp_path):
    running = serve(tcp=True, run_script_api_enabled=True, script_allowed_imports=["pathlib"])
    target = tmp_path / "made"
    answer = run(running, f"import pathlib\npathlib.Path({str(target)!r}).touch()")
    assert answer.status == 403
    assert "role admin" in answer.json()["message"]
    assert not target.exists()


@pytest.mark.parametrize(
    "body", [b"", b'--XX\r\nContent-Disposition: form-data; name="script"; filename="s"\r\n\r\nx = 1']
)
def test_a_form_that_ends_too_early_holds_no_file(on, body):
    answer = on.post("/run_script", body, "multipart/form-data; boundary=XX")
    assert (answer.status, answer.type, answer.text) == (400, TEXT, "No script file provided")


@pytest.mark.parametrize("mode", ["in_process", "process"])
def test_an_allowed_module_that_fails_is_said_in_the_contracts_words(start, tmp_path, monkeypatch, mode):
    (tmp_path / "fails_at_import.py").write_text('raise RuntimeError("boom on import")')
    monkeypatch.syspath_prepend(str(tmp_path))  # as a module of the operator's
    answer = run(start(mode, ["fails_at_import"]), "result = 1")
    assert (answer.status, answer.type, answer.text) == (500, TEXT, "Error executing script: boom on import")
