"""A disk that is full or read-only beneath audit, tokens and chunks (S32, S59, S63)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import lmcache_admin

PROGRAM = Path(__file__).with_name("audit_failing_disk.py")
OWN = ["unshare", "--user", "--map-root-user", "--mount"]


@pytest.fixture(scope="module", params=["full", "read-only"])
def found(request, tmp_path_factory):
    """What the program found; skip where no file system of our own can be mounted."""
    folder = tmp_path_factory.mktemp("disk")
    try:
        tried = subprocess.run([*OWN, "mount", "-t", "tmpfs", "tmpfs", str(folder)], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if tried.returncode:
        pytest.skip("no mounts for an ordinary user here")
    environ = {**os.environ, "PYTHONPATH": str(Path(lmcache_admin.__file__).parents[1])}
    command = [*OWN, sys.executable, str(PROGRAM), str(folder), request.param]
    answer = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def test_s32_s63_changes_are_refused_and_reads_go_on(found):
    assert found["before"] == [200] * 3
    assert found["during"] == 503
    assert found["refused"] > 150
    assert found["reads"] == [200] * 6
    checks = {check["name"]: check["status"] for check in found["ready"][1]["checks"]}
    assert (found["ready"][0], checks["audit_file"]) == (200, "failed")


def test_s63_change_of_settings_is_refused_and_the_old_value_stays(found):
    assert (found["conf"], found["value"]) == (503, 0)


def test_s32_log_tells_once_and_not_two_hundred_times(found):
    assert found["logged"] == 1


def test_s32_chain_verifies_during_the_fault_and_after_it(found):
    assert found["verified"] == [True, True]


def test_s59_s63_token_file_is_left_as_it_was(found):
    done, refused, same = found["tokens"]
    assert (done, refused, same) == (0, 1, True)
    assert found["left"] == ["tokens", "tokens.lock"]


def test_s63_start_in_the_midst_of_it_serves_reads(found):
    assert found["restarted"] == [503, *[200] * 6]


def test_s63_chunks_that_the_disk_does_not_take_are_misses_and_a_reported_error(found):
    stored, retrieved = found["chunks"]
    assert stored["num_stored"] < stored["num_tokens"]
    assert retrieved["num_retrieved"] == stored["num_stored"]
    assert found["failures"]


def test_s32_s63_all_is_well_again_without_a_restart(found):
    assert found["after"] == [200] * 3
    assert found["stored_after"]["num_stored"] == 32
    assert found["ready_after"] == "ok"
