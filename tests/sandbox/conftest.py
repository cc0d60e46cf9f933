"""Scripts in processes of their own, and a way out of the few builtins that they have."""

import os
import tempfile
from pathlib import Path

import pytest

from lmcache_admin.jobs import Job
from lmcache_admin.operations.script_process import execute

#: Three lines out of the box, as published for such boxes: a built-in type's subclasses lead to `os`.
OUT = """
for kind in ().__class__.__base__.__subclasses__():
    if kind.__name__ == "_wrap_close":
        os = kind.__init__.__globals__
load = os["__builtins__"]["__import__"]
open = os["__builtins__"]["open"]
OSError = os["__builtins__"]["OSError"]
range = os["__builtins__"]["range"]
"""
#: What the kernel says; in a namespace of its own there is nobody to be reached.
REFUSALS = ("[Errno 1] ", "[Errno 13] ", "[Errno 3] ", "[Errno 101] ", "[Errno 111] ")


def perform(script, seconds=60.0, allowed=(), without=(), job=None):
    """Execute a script in a process of its own."""
    return execute(script.encode(), allowed, {"frozen": False}, seconds, job or Job.detached(), without)


def break_out(script, **options):
    """Execute a script that has got to `os`, as a dictionary, and can `load` modules."""
    return perform(OUT + script, **options)


def attempt(statement, **options):
    """What comes of a statement of such a script: its result, or what it raises."""
    script = f"try:\n    result = {statement}\nexcept OSError as error:\n    result = str(error)\n"
    return break_out(script, **options).text


def running_scripts():
    """Processes of this one that run scripts."""
    found = []
    for path in Path("/proc/self/task").glob("*/children"):
        for number in path.read_text().split():
            if b"child.py" in Path(f"/proc/{number}/cmdline").read_bytes():
                found.append(int(number))
    return found


@pytest.fixture(name="script")
def script_fixture():
    """The function `perform`."""
    return perform


@pytest.fixture(name="escape")
def escape_fixture():
    """The function `break_out`."""
    return break_out


@pytest.fixture(name="attempt")
def attempt_fixture():
    """The function `attempt`."""
    return attempt


@pytest.fixture(name="scripts")
def scripts_fixture():
    """The function `running_scripts`."""
    return running_scripts


@pytest.fixture
def refused():
    """Tell whether a text is the kernel's refusal."""
    return lambda text: text.startswith(REFUSALS)


@pytest.fixture
def planted(tmp_path):
    """A file with a secret, which this process can read."""
    file = tmp_path / "tokens"
    file.write_text("hunter2-Zq7v")
    file.chmod(0o600)
    return file


@pytest.fixture(autouse=True)
def nothing_of_scripts_left(tmp_path, monkeypatch):
    """Where the folders of scripts are made; none is left, nor a process, nor a descriptor."""
    place = tmp_path / "folders"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    before = sorted(os.listdir("/proc/self/fd"))
    yield
    assert list(place.iterdir()) == []
    assert running_scripts() == []
    assert len(os.listdir("/proc/self/fd")) <= len(before)
