"""The audit's chain after crashes at any point, in forked processes, and while others read it (S28, S30, S31, S65)."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import lmcache_admin
from lmcache_admin.security import audit_file
from lmcache_admin.security.audit_chain import BrokenChain
from lmcache_admin.security.audit_file import AuditFile
from lmcache_admin.security.audit_verify import verify_files

PROGRAM = Path(__file__).with_name("audit_kill_rounds.py")
SMALL = 10_000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.log"


@pytest.mark.parametrize(
    ("rounds", "seed", "keep"),
    [
        (12, 20261125, 1000),
        (12, 20261126, 2),
        pytest.param(200, 7, 1000, marks=pytest.mark.slow),
        pytest.param(200, 8, 2, marks=pytest.mark.slow),
        pytest.param(50, 9, 0, marks=pytest.mark.slow),
    ],
)
def test_s65_kill_at_a_random_moment_breaks_no_chain_and_loses_no_acknowledged_change(tmp_path, rounds, seed, keep):
    environ = {**os.environ, "PYTHONPATH": str(Path(lmcache_admin.__file__).parents[1])}
    command = [sys.executable, str(PROGRAM), str(tmp_path), str(rounds), str(seed), str(keep)]
    answer = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    found = json.loads(answer.stdout)
    assert found["rounds"] == rounds
    assert found["acknowledged"] >= rounds
    assert found["rotated"] >= min(keep, 2)
    assert (found["lost"], found["broken"], found["broken_later"]) == (0, 0, 0), answer.stderr


class Killed(BaseException):
    """The process ends here."""


class Steps:
    """Ends the process at its n-th call that changes a file."""

    def __init__(self, monkeypatch, last):
        self.left = last
        for owner, name in (
            (audit_file.os, "write"),
            (audit_file.os, "pwrite"),
            (audit_file.os, "ftruncate"),
            (audit_file.os, "fsync"),
            (Path, "rename"),
            (Path, "unlink"),
        ):
            monkeypatch.setattr(owner, name, self.counted(getattr(owner, name)))

    def counted(self, real):
        def call(*arguments, **options):
            if self.left == 0:
                raise Killed
            self.left -= 1
            return real(*arguments, **options)

        return call


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_s65_kill_between_any_two_steps_of_writing_and_rotating_leaves_a_chain_that_verifies(tmp_path, keep):
    for last in range(60):
        path = tmp_path / str(last) / "audit.log"
        path.parent.mkdir()
        file = AuditFile(str(path), SMALL, keep)
        for _ in range(3 * keep + 2):
            file.append({"filled": "x" * 6000})  # so that a rotation is near, with files to drop
        with pytest.MonkeyPatch.context() as patch:
            Steps(patch, last)
            try:
                for number in range(6):
                    file.append({"number": number, "filled": "x" * 6000})
            except Killed:
                pass
        before = verify_files(path)[1]
        again = AuditFile(str(path), SMALL, keep)
        again.append({"after": True})
        again.close()
        assert verify_files(path)[1] == before + 1 or before == 0  # with no old file kept, none may be left
        file.close()


@pytest.mark.parametrize("size", [1, 100, 300_000, 1_000_000])
def test_s65_line_of_any_length_that_was_torn_is_set_aside_whole(path, size):
    file = AuditFile(str(path), 10**9, 3)
    file.append({"number": 1})
    file.append({"filled": "y" * size})
    file.close()
    whole = path.read_bytes()
    torn = whole + b'{"seq":3,"filled":"' + b"z" * size
    path.write_bytes(torn)
    assert verify_files(path) == (1, 2)  # as it lies there
    again = AuditFile(str(path), 10**9, 3)
    again.append({"number": 3})
    again.close()
    assert verify_files(path) == (1, 3)
    (aside,) = path.parent.glob("audit.log.torn-*")
    assert whole + aside.read_bytes() == torn


def test_s28_last_line_that_somebody_cut_short_is_missed(path):
    file = AuditFile(str(path), 10**9, 3)
    for number in range(3):
        file.append({"number": number})
    file.close()
    os.truncate(path, path.stat().st_size - 20)
    with pytest.raises(BrokenChain, match="lines 3 to 3 are missing at the end"):
        verify_files(path)


def test_s28_forked_processes_that_inherited_the_file_keep_one_chain(path):
    file = AuditFile(str(path), SMALL, 1000)
    file.append({"of": "parent"})
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            for number in range(100):
                file.append({"of": os.getpid(), "number": number})
            os._exit(0)
        children.append(child)
    for number in range(100):
        file.append({"of": "parent", "number": number})
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    file.close()
    assert verify_files(path) == (1, 401)


def test_s28_verifying_while_others_write_and_rotate_finds_nothing_wrong(path):
    file = AuditFile(str(path), SMALL, 5)
    enough = threading.Event()

    def write():
        number = 0
        while not enough.is_set():
            number += 1
            file.append({"number": number, "filled": "x" * (number % 900)})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        ends = [verify_files(path)[1] for _ in range(100)]
    finally:
        enough.set()
        writer.join()
        file.close()
    assert ends == sorted(ends)
    assert ends[-1] > ends[0]


def test_s31_fewer_files_are_kept_once_the_setting_says_so(path):
    for keep in (8, 2):
        file = AuditFile(str(path), SMALL, keep)
        for _ in range(40):
            file.append({"filled": "x" * 5000})
        file.close()
        assert len(list(path.parent.glob("audit.log.[0-9]*"))) == keep
        verify_files(path)


@pytest.mark.parametrize("mode", [0o666, 0o622, 0o602, 0o620])
@pytest.mark.parametrize("name", ["audit.log", "audit.log.head"])
def test_s30_file_that_others_may_write_is_not_used(serve, path, mode, name):
    file = path.with_name(name)
    file.touch()
    file.chmod(mode)
    with pytest.raises(AssertionError, match=f"its mode is {mode:04o}; wanted: 0600"):
        serve(extra={"audit_file": str(path)})


def test_s30_file_of_somebody_else_is_not_used(path):
    if os.geteuid() != 0:
        pytest.fail("this test needs to give a file away: run it as root")
    path.touch(0o600)
    os.chown(path, 65534, 65534)
    with pytest.raises(PermissionError, match="belongs to uid 65534"):
        AuditFile(str(path), SMALL, 1)


def test_s30_file_that_is_none_stops_the_start(serve, path):
    os.mkfifo(path, 0o600)
    with pytest.raises(AssertionError, match="no regular file"):
        serve(extra={"audit_file": str(path)})


def test_lines_that_are_no_records_are_passed_over_when_the_newest_are_shown(path):
    file = AuditFile(str(path), 10**9, 1)
    file.append({"number": 1})
    with path.open("ab") as other:
        other.write(b'5\n"text"\n[]\nnull\n')
    assert [record["number"] for record in file.newest(10)] == [1]
    file.close()
