"""examples/toy_engine.py as it stands: a stranger's engine in a process of its own, spoken to over HTTP."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROGRAM = Path(__file__).parents[2] / "examples" / "toy_engine.py"
WORKING = {
    "GET /version",
    "GET /lmc_version",
    "GET /commit_id",
    "GET /conf",
    "POST /conf",
    "GET /meta",
    "GET /freeze/status",
    "PUT /freeze/enable",
    "PUT /freeze/disable",
    "DELETE /cache/clear",
    "GET /cache/kvcache/info",
    "GET /cache/kvcache/check",
}
#: Route -> what of the engine it lacks, as its answer names it.
MISSING = {
    "PUT /hot_cache/enable": "set_hot_cache",
    "PUT /hot_cache/disable": "set_hot_cache",
    "GET /hot_cache/status": "is_hot_cache_enabled",
    "POST /cache/store": "store",
    "POST /cache/retrieve": "retrieve",
    "POST /cache/load-fs-chunks": "open_chunk_source",
    "POST /cache/kvcache/record_slot": "kvcache_check_log_enabled",
    "GET /bypass/list": "storage_manager",
    "PUT /bypass/add": "storage_manager",
    "PUT /bypass/remove": "storage_manager",
    "GET /backends": "storage_manager",
    "POST /backends": "storage_manager",
    "DELETE /backends/<name>": "storage_manager",
    "POST /backends/<name>/recreate": "storage_manager",
}
#: Routes whose answer LMCache fixes for an engine without that part: route -> status, `error`.
FIXED = {
    "GET /inference_info": (500, "Failed to get inference info"),
    "GET /inference_version": (500, "Failed to get inference version"),
    "GET /lookup/info": (503, "API unavailable"),
    "POST /lookup/close": (400, "Unknown role"),
    "POST /lookup/create": (400, "Unknown role"),
    "POST /lookup/recreate": (400, "Unknown role"),
    "GET /chunk_statistics/status": (503, "API unavailable"),
    "POST /chunk_statistics/start": (503, "API unavailable"),
    "POST /chunk_statistics/stop": (503, "API unavailable"),
    "POST /chunk_statistics/reset": (503, "API unavailable"),
}
QUERY = "tokens_mock=0,16&backend_name=memory&enabled=true"


class Program:
    """The running example, and a client for its service."""

    def __init__(self, port, client, folder):
        self.store = folder / "store.yaml"
        self.store.write_text("remote_url: fs://localhost:0/nowhere\n")
        prefix = "LMCACHE_INTERNAL_API_SERVER_"
        settings = {f"{prefix}PORT_START": str(port - 1), f"{prefix}CONFIG_FOLDERS": str(folder)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen([sys.executable, PROGRAM], **pipes, env=os.environ | settings, text=True)
        self.admin = client(port)
        assert self.line() == f"admin service: port {port}"

    def line(self):
        return self.process.stdout.readline().rstrip()

    def prompt(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        return self.line()

    def ask(self, route):
        method, path = route.replace("<name>", "memory").split(" ")
        body = json.dumps({"config_path": str(self.store)})
        return self.admin.request(method, f"{path}?{QUERY}", body, {"Content-Type": "application/json"})

    def end(self):
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


@pytest.fixture
def program(free_port, client, tmp_path):
    running = Program(free_port(2) + 1, client, tmp_path)
    yield running
    running.process.kill()
    running.process.communicate()


def test_is_shorter_than_100_lines():
    assert len(PROGRAM.read_text().splitlines()) < 100


def test_answers_prompts_and_ends_with_its_input(program):
    assert program.prompt("a small engine") == "3 words, 0 of them from the cache"
    assert program.prompt("a small world") == "3 words, 2 of them from the cache"
    assert program.end() == (0, "")


def test_is_frozen_and_thawed(program):
    assert program.admin.get("/freeze/status").json()["freeze"] is False
    assert program.admin.put("/freeze/enable").status == 200
    assert program.admin.get("/freeze/status").json()["freeze"] is True
    assert program.prompt("word word") == "2 words, 0 of them from the cache"
    assert program.admin.put("/freeze/disable").status == 200
    assert program.prompt("word word") == "2 words, 1 of them from the cache"


def test_is_cleared(program):
    program.prompt("one two three")
    assert program.admin.delete("/cache/clear?locations=disk").json()["num_removed"] == 0
    assert program.admin.delete("/cache/clear").json()["num_removed"] == 3
    assert program.prompt("one two three") == "3 words, 0 of them from the cache"


def test_shows_and_takes_its_own_configuration(program):
    assert program.admin.get("/conf?names=capacity").json() == {"capacity": 100}
    assert program.admin.post("/conf", '{"capacity": 2}').json() == {"updated": {"capacity": 2}}
    program.prompt("one two three")
    assert program.prompt("one two three") == "3 words, 0 of them from the cache"
    assert program.admin.post("/conf", '{"internal_api_server_enabled": false}').status == 400


def test_shows_and_checks_its_caches(program):
    program.prompt("alpha be")
    info = program.admin.get("/cache/kvcache/info").json()
    assert info["layers"]["layer.1"] == {"shape": [8, 16, 4], "dtype": "torch.float32", "device": "cpu"}
    content = np.array([[5] * 4, [2] * 4], np.float32).tobytes()
    digest = hashlib.md5(content).hexdigest()  # noqa: S324 - the contract's digest
    check = program.admin.get("/cache/kvcache/check?slot_mapping=0,1&chunk_size=2&layerwise=true").json()
    assert check["chunk_checksums"] == {"layer.0": [digest], "layer.1": [digest]}


def test_says_of_the_rest_what_it_lacks(program):
    for route, missing in MISSING.items():
        answer = program.ask(route)
        assert (answer.status, answer.json()["missing"]) == (501, missing), route
        assert missing in answer.json()["message"]
    for route, fixed in FIXED.items():
        answer = program.ask(route)
        assert (answer.status, answer.json()["error"]) == fixed, route
    assert "Traceback" not in program.end()[1]


def test_every_route_of_the_category_is_looked_at(program):
    files = [file for file in program.admin.get("/blueprints").json()["files"] if file["category"] == "vllm"]
    served = {route for file in files for route in file["routes"]}
    assert served == WORKING | set(MISSING) | set(FIXED)
