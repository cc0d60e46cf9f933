"""The soak of `benchmarks/soak.py` in a short form: half a minute of everything at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import lmcache_admin

SOAK = Path(__file__).parents[1] / "benchmarks" / "soak.py"


@pytest.mark.slow  # half a minute of load: beside other work the machine itself refuses some of it
def test_half_a_minute_of_mixed_load_gives_no_answer_that_is_not_asked_for_and_leaves_nothing(tmp_path: Path) -> None:
    results = tmp_path / "soak.json"
    package = str(Path(lmcache_admin.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, str(SOAK), "--seconds", "30", "--rate", "100", "--json", str(results)],
        env={**os.environ, "PYTHONPATH": package},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert results.exists(), done.stderr
    report = json.loads(results.read_text())["results"]
    assert report["faults"] == []  # statuses, errors in the log, the audit's chain, what is left at rest
    assert done.returncode == 0
    assert set(report["kinds"]) == {"read", "change", "refused", "probe", "scrape", "slow"}
    statuses = {status for _, status, _ in report["requests"]}
    assert statuses == {200, 202, 400, 403, 404, 405} | (statuses & {409})  # 409: a job ended before its cancel came
    before, after = report["rest"]["before"], report["rest"]["after"]
    assert after["descriptors"] <= before["descriptors"]
    assert after["threads"] <= before["threads"]
