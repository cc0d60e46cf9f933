"""The life of a script's process: what it is given, how it is ended, what it may answer (S51)."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lmcache_admin.errors import Failure
from lmcache_admin.jobs import Cancelled, Job
from lmcache_admin.operations.script_process import execute, run

CLOSE_ALL = "for number in range(64):\n    try:\n        os['close'](number)\n    except OSError:\n        number = 0\n"
FLOOD = (
    "for number in range(3, 64):\n    try:\n        while True:\n            os['write'](number, b'z' * 10000)\n"
    "    except OSError:\n        number = 0\n"
)


def test_s51_the_snapshot_is_a_copy():
    snapshot = {"frozen": False, "backends": ["a"]}
    source = b"snapshot['frozen'] = True\nsnapshot['backends'].append('b')\nresult = snapshot"
    ended = execute(source, (), snapshot, 60.0, Job.detached())
    assert ended.text == "{'frozen': True, 'backends': ['a', 'b']}"
    assert snapshot == {"frozen": False, "backends": ["a"]}


def test_s51_endless_script_is_ended_at_its_deadline(script):
    with pytest.raises(Failure) as failure:
        script("while True: x = 1", seconds=1.5)
    assert (failure.value.status, failure.value.body) == (500, "Error executing script: ended after 1.5 s")


def test_s51_script_that_sleeps_behind_closed_pipes_is_ended_too(escape):
    with pytest.raises(Failure, match="ended after 2 s"):
        escape(f"sleep = load('time').sleep\n{CLOSE_ALL}sleep(3600)", seconds=2.0)


def test_s51_cancelled_script_is_ended(script, scripts, eventually):
    job, raised = Job.detached(), []

    def work():
        with pytest.raises(Cancelled) as caught:
            script("while True: x = 1", seconds=600, job=job)
        raised.append(caught.value)

    thread = threading.Thread(target=work)
    thread.start()
    eventually(scripts, "a process")
    job.cancel()
    thread.join()
    assert len(raised) == 1


def alive(number):
    """Whether there is such a process, and it has not ended."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def below(number):
    """A process and its children."""
    listed = Path(f"/proc/{number}/task/{number}/children").read_text().split()
    return {int(child) for child in listed} | {grand for child in listed for grand in below(int(child))}


def test_s51_stopped_service_leaves_no_script(serve, scripts, eventually):
    running = serve(run_script_api_enabled=True, extra={"run_script_mode": "process"})
    body = '--XX\r\nContent-Disposition: form-data; name="script"; filename="s"\r\n\r\nwhile True: x = 1\r\n--XX--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=XX", "Prefer": "respond-async"}
    job = running.request("POST", "/run_script", body, headers).headers["Location"]
    eventually(lambda: running.get(job).json()["state"] == "running" and scripts(), "the script")
    running.server.stop()
    eventually(lambda: not scripts(), "the end of the script")


def test_s51_script_dies_with_the_service(eventually, tmp_path):
    program = (
        "from lmcache_admin.jobs import Job\nfrom lmcache_admin.operations.script_process import execute\n"
        "execute(b'print(1)\\nwhile True: x = 1', (), {}, 600, Job.detached())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", program], env=environment) as service:
        busy = "the script at work"
        eventually(lambda: any("R" in _state(number) for number in below(service.pid)), busy)
        left = below(service.pid)
        service.kill()
    assert left
    eventually(lambda: not any(map(alive, left)), "the end of the script")


def _state(number):
    return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("os['_exit'](3)", "its process ended without an answer (exit code 3)"),
        ("load('ctypes').string_at(0)", "its process ended without an answer (signal 11)"),
    ],
)
def test_s51_script_that_ends_its_process_ends_nothing_else(escape, source, why):
    ended = escape(source)
    assert (ended.kind, ended.text) == ("", why)


def test_s51_output_is_limited(script, escape):
    assert len(script("result = 'x' * 1000000").text) == 1_000_000
    for flood in ("result = 'x' * 2000000", "raise_ = {}['x' * 2000000]"):
        with pytest.raises(Failure, match="its output is larger than 1048576 bytes"):
            script(flood)
    with pytest.raises(Failure, match="its output is larger"):
        escape(FLOOD)


def test_s51_what_is_printed_is_kept_up_to_a_limit(script):
    ended = script("print('y' * 3000000)\nresult = 1")
    assert ended.text == "1"
    assert 0 < len(ended.printed) <= 1_048_576


def test_s51_what_a_script_prints_is_one_line_of_the_log(caplog):
    with caplog.at_level("INFO"):
        assert run(b"print('one')\nprint('two')\nresult = 3", (), {}, 60.0, Job.detached()) == "3"
    assert "A script printed 'one\\ntwo\\n'" in caplog.text


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A package of the operator's own, in a folder with a secret beside it."""
    package = tmp_path / "own" / "tools_of_ours"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from tools_of_ours.part import answer")
    (package / "part.py").write_text("answer = 42")
    (tmp_path / "own" / "settings.yaml").write_text("password: hunter2")
    monkeypatch.syspath_prepend(str(tmp_path / "own"))
    return tmp_path / "own"


def test_s51_modules_are_found_where_this_process_finds_them(script, tools):
    ended = script("import tools_of_ours\nresult = tools_of_ours.answer", allowed=["tools_of_ours"])
    assert (ended.kind, ended.text) == ("result", "42")


def test_s51_what_lies_beside_an_allowed_module_is_not_read(attempt, refused, tools):
    assert refused(attempt(f"open('{tools}/settings.yaml').read()", allowed=["tools_of_ours"]))


def test_s51_installed_modules_find_what_they_need(script):
    ended = script("import numpy\nresult = numpy.arange(5).tolist()", allowed=["numpy"])
    assert (ended.kind, ended.text) == ("result", "[0, 1, 2, 3, 4]")


def test_s51_modules_that_are_not_there_are_told(script):
    ended = script("import no_such_module_xyz", allowed=["json", "no_such_module_xyz"])
    assert ended.text == "Import of 'no_such_module_xyz' is not allowed"
    assert list(ended.missing) == ["no_such_module_xyz"]
