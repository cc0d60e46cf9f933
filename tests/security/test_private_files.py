"""Files of credentials: written whole or not at all, whatever ends the writer or fills the disk (S59)."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import lmcache_admin
from lmcache_admin.security import private_files
from lmcache_admin.security.private_files import read_private, write_private

PROGRAM = Path(__file__).with_name("private_kill_rounds.py")
FULL = """
import os, subprocess, sys
from lmcache_admin.security.private_files import write_private
path = sys.argv[1] + "/tokens"
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", sys.argv[1]], check=True)
write_private(path, b"old")
for what in sys.argv[2:]:
    if what == "full":
        with open(sys.argv[1] + "/fill", "wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass
    else:
        subprocess.run(["mount", "-o", f"remount,{what}", sys.argv[1]], check=True)
    try:
        write_private(path, b"new" * 20_000)
        print("written")
    except OSError as error:
        print(error.strerror)
    print(open(path, "rb").read(), sorted(os.listdir(sys.argv[1])))
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(lmcache_admin.__file__).parents[1])}


def test_s59_a_kill_at_any_moment_leaves_the_old_file_or_the_new_one(tmp_path):
    command = [sys.executable, str(PROGRAM), str(tmp_path / "tokens"), "200", "20261124"]
    answer = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    found = json.loads(answer.stdout)
    assert (found["rounds"], found["half"], found["open"]) == (200, 0, 0)
    assert found["while writing"] > 0


@pytest.mark.parametrize(("fault", "says"), [("full", "No space left on device"), ("ro", "Read-only file system")])
def test_s59_s63_on_a_disk_that_takes_nothing_the_old_file_stays_whole(tmp_path, fault, says):
    command = ["unshare", "-Urm", sys.executable, "-c", FULL, str(tmp_path), fault]
    answer = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    lines = answer.stdout.splitlines()
    assert lines[0] == says, answer.stderr
    names = "['fill', 'tokens']" if fault == "full" else "['tokens']"
    assert lines[1] == f"b'old' {names}"


def test_s59_the_medium_has_file_and_folder_before_it_is_done(tmp_path, monkeypatch):
    # whether a disk has it cannot be seen from here: the calls are noted, in their order
    calls: list[str] = []
    sync, replace = os.fsync, os.replace

    def noted_sync(descriptor: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    def noted_replace(source: str, target: str) -> None:
        calls.append("rename")
        assert Path(source).parent == Path(target).parent
        replace(source, target)

    monkeypatch.setattr(private_files.os, "fsync", noted_sync)
    monkeypatch.setattr(private_files.os, "replace", noted_replace)
    write_private(str(tmp_path / "tokens"), b"new")
    assert calls == ["file", "rename", "folder"]
    assert read_private(str(tmp_path / "tokens")) == b"new"
