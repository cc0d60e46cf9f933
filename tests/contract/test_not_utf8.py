"""Bytes that are no UTF-8 in environment, arguments, names of threads and files: escaped, all routes served (S72)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lmcache_admin
from lmcache_admin import create_app

SERVED = create_app(None).extensions["lmcache_admin"].routes.served
READ = sorted({entry.rule for entry in SERVED if entry.method == "GET"})
#: Where there is what they ask for: a job, a periodic thread of the host, a controller, a lookup client, a browser.
ELSEWHERE = ("/jobs/", "/periodic-threads/", "/controller/", "/chunk_statistics/", "/session")
ODD = b"odd\xff\xfe\x80"
PROGRAM = """
import os, sys, threading
from lmcache_admin import InternalAPIServer
from lmcache_admin.engine import Configuration, Manager
from lmcache_admin.settings_file import load_settings_file

folder = sys.argv[1]
values = load_settings_file(os.path.join(folder, "settings.yaml"))
values["local_disk"] = os.path.join(folder, "chunks")
values["extra_config"]["internal_api_server_audit_file"] = os.path.join(folder, "audit.log")
manager = Manager(Configuration.from_mapping(values, {}))
manager.start()
server = InternalAPIServer(manager)
server.start()
assert server.error is None, server.error
threading.Thread(target=threading.Event().wait, name="thread" + os.fsdecode(b"\\xff"), daemon=True).start()
print("ready", flush=True)
sys.stdin.readline()
server.stop()
manager.stop()
"""
SETTINGS = """
chunk_size: 16
max_local_cpu_size: 0.01
max_local_disk_size: 0.01
internal_api_server_enabled: true
internal_api_server_port_start: {port}
extra_config: {{internal_api_server_auth: "off"}}
"""


@pytest.fixture
def odd(tmp_path: Path, free_port: Any, client: Any) -> Iterator[Any]:
    """A process with such bytes wherever it has names."""
    folder = os.fsencode(tmp_path) + b"/" + ODD
    os.mkdir(folder)
    port = free_port(2)
    Path(os.fsdecode(folder), "settings.yaml").write_text(SETTINGS.format(port=port))
    environment = {os.fsencode(name): os.fsencode(value) for name, value in os.environ.items()}
    environment |= {ODD: ODD, b"ODD": ODD, b"PYTHONPATH": os.fsencode(Path(lmcache_admin.__file__).parents[1])}
    command = [os.fsencode(sys.executable), b"-c", PROGRAM.encode(), folder, ODD]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"ready\n", process.stderr.read().decode("utf-8", "replace")
    yield client(port + 1)
    _, errors = process.communicate(b"\n", timeout=60)
    assert (process.returncode, errors) == (0, b"")


def test_s72_every_route_is_served(odd, ask, eventually):
    """... with UTF-8 and JSON alone."""
    eventually(lambda: odd.get("/readyz").status == 200)
    for path in READ:
        if path.startswith(ELSEWHERE):
            continue
        answer = ask(odd, f"GET {path}")
        assert answer.status == 200, (path, answer.text)
        answer.body.decode("utf-8", "strict")
        if answer.type == "application/json":
            json.loads(answer.body)


def test_s72_names_are_shown_escaped(odd):
    environment = odd.get("/env")
    assert environment.json()["ODD"] == "odd\udcff\udcfe\udc80"
    assert r'"odd\udcff\udcfe\udc80": "odd\udcff\udcfe\udc80"' in environment.text
    assert r"thread\udcff" in odd.get("/threads").text
    assert r"odd\udcff\udcfe\udc80/chunks" in odd.get("/conf").text


def test_s72_store_and_audit_with_such_names_work(odd):
    assert odd.post("/cache/store?tokens_mock=0,64").json()["num_stored"] == 64
    assert odd.post("/cache/retrieve?tokens_mock=0,64").json()["num_retrieved"] == 64
    assert odd.get("/audit").json()["entries"][0]["route"] == "/cache/retrieve"
    assert odd.delete("/cache/clear").json()["num_removed"] == 64
