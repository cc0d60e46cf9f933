"""The application under gunicorn, started from the file in conf/."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lmcache_admin.shipped import shipped_folder

SETTINGS = """
chunk_size: 16
max_local_cpu_size: 0.05
local_disk: {folder}
max_local_disk_size: 0.1
"""


@pytest.fixture(params=["tcp", "unix"])
def gunicorn(request, tmp_path: Path, free_port, client, eventually) -> Iterator:
    settings = tmp_path / "lmcache.yaml"
    settings.write_text(SETTINGS.format(folder=tmp_path / "chunks"))
    target = free_port(1) if request.param == "tcp" else str(tmp_path / "admin.sock")
    bind = f"127.0.0.1:{target}" if request.param == "tcp" else f"unix:{target}"
    conf = shipped_folder("conf") / "gunicorn.conf.py"
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", conf, "-b", bind, "lmcache_admin.wsgi:application"],
        env={**os.environ, "LMCACHE_CONFIG_FILE": str(settings)},
        cwd=tmp_path,
    )
    talker = client(target)

    def answers() -> bool:
        assert process.poll() is None, "gunicorn ended"
        try:
            return talker.get("/healthz").status == 200
        except OSError:
            return False

    try:
        eventually(answers, "gunicorn answers")
        yield talker
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_stores_retrieves_and_clears(gunicorn) -> None:
    assert gunicorn.post("/cache/store?tokens_mock=0,40").json()["num_stored"] == 32
    assert gunicorn.post("/cache/retrieve?tokens_mock=0,40").json()["num_retrieved"] == 32
    assert gunicorn.delete("/cache/clear").json() == {"status": "success", "num_removed": 32}
    assert gunicorn.post("/cache/retrieve?tokens_mock=0,40").json()["num_retrieved"] == 0


def test_probes_the_data_path_from_the_first_request_on(gunicorn, eventually) -> None:
    report = eventually(lambda: gunicorn.get("/readyz").status == 200 and gunicorn.get("/readyz").json())
    assert report["status"] == "ok"
    assert sorted(check["name"] for check in report["checks"]) == ["LocalCPUBackend", "LocalDiskBackend"]


def test_refuses_a_foreign_page(gunicorn) -> None:
    answer = gunicorn.request("PUT", "/freeze/enable", headers={"Origin": "http://evil.example"})
    assert answer.status == 403
    assert gunicorn.get("/freeze/status").json()["freeze"] is False


def test_measures_its_own_requests(gunicorn) -> None:
    gunicorn.get("/version")
    line = 'lmcache_admin_request_seconds_count{method="GET",route="/version",server="wsgi",status="200"} 1.0'
    assert line in gunicorn.get("/metrics").text


def test_a_body_in_chunks_that_is_too_large_is_refused_whole(gunicorn) -> None:
    connection = gunicorn.connection()
    chunks = (b'{"min_retrieve_tokens": 7}' + b" " * 65536 for _ in range(16))
    connection.request("POST", "/conf", chunks, {"Content-Type": "application/json"}, encode_chunked=True)
    answer = connection.getresponse()
    assert answer.status == 413
    connection.close()
    assert gunicorn.get("/conf?names=min_retrieve_tokens").json() == {"min_retrieve_tokens": 0}
