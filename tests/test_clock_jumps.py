"""Jumps of the clock by an hour: time-outs go on, sessions keep to their text, the audit to its order (S66)."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lmcache_admin
from lmcache_admin.security.audit_verify import verify_files
from lmcache_admin.security.private_files import write_private
from lmcache_admin.security.users import new_user

HOUR = 3600
PASSWORD = "correct horse battery"
BROWSER = {"Sec-Fetch-Site": "same-origin"}
#: libfaketime refuses to sleep until a moment of a clock that it leaves alone, which is how Python sleeps.
SLEEP = """
import select, time
time.sleep = lambda seconds: select.select((), (), (), seconds)
"""
SERVER = """
import sys, threading
from lmcache_admin.serving.lanes import Route
from lmcache_admin.serving.server import HTTPServer, ServerOptions

def application(environ, start_response):
    if environ["PATH_INFO"] == "/hang":
        threading.Event().wait(4)
    body = str(int(time.time())).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

limits = {"header_seconds": 20.0, "body_seconds": 3.0, "idle_seconds": 30.0, "deadlines": {"read": 2.0, "change": 60.0}}
lanes = {"/hang": "read", "/slow": "change"}
server = HTTPServer(application, lambda method, path: Route(path, "answer", lanes.get(path, "light"), path == "/"),
                    ServerOptions(socket_path=sys.argv[1], **limits))
server.start()
print("ready", flush=True)
sys.stdin.readline()
server.stop()
"""
SERVICE = """
import json, sys
from lmcache_admin import InternalAPIServer, app
from lmcache_admin.engine import Configuration, Manager

app.INTERVAL = 0.2  # nobody wants to wait ten seconds for a probe
extra = {f"internal_api_server_{key}": value for key, value in json.loads(sys.argv[2]).items()}
keys = {"internal_api_server_enabled": True, "internal_api_server_socket_path_prefix": sys.argv[1], "chunk_size": 16,
        "max_local_cpu_size": 0.01, "extra_config": extra}
manager = Manager(Configuration.from_mapping(keys, {}))
manager.start()
server = InternalAPIServer(manager)
server.start()
assert server.error is None, server.error
print("ready", flush=True)
sys.stdin.readline()
server.stop()
manager.stop()
"""


@pytest.fixture
def run(clock: Any, tmp_path: Path) -> Iterator[Any]:
    """`run(program, *arguments)`: a program that has said that it is ready, under the test's clock."""
    processes: list[Any] = []

    def start(program: str, *arguments: str) -> None:
        path = str(Path(lmcache_admin.__file__).parents[1])
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [sys.executable, "-c", SLEEP + program, *arguments],
            env={**os.environ, "PYTHONPATH": path, **clock.environment},
            stdin=pipe,
            stdout=pipe,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

    yield start
    for process in processes:
        process.communicate("\n", timeout=60)
        assert process.returncode == 0


@pytest.fixture
def listening(run: Any, tmp_path: Path, client: Any) -> Any:
    """A client of a server whose time-outs are short."""
    run(SERVER, str(tmp_path / "s"))
    return client(str(tmp_path / "s"))


@pytest.fixture
def service(run: Any, tmp_path: Path, client: Any) -> Any:
    """`service(**settings of ours)`: a client of a worker."""

    def start(**extra: Any) -> Any:
        run(SERVICE, str(tmp_path / "s"), json.dumps(extra))
        return client(str(tmp_path / "s_7000"))

    return start


@pytest.fixture
def opened(listening: Any) -> Iterator[Any]:
    """Open a connection to that server."""
    with contextlib.ExitStack() as stack:

        def connect() -> socket.socket:
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.settimeout(60)
            sock.connect(listening.target)
            return sock

        yield connect


def test_the_clock_jumps_as_it_is_told(listening, clock):
    clock.jump(HOUR)
    assert abs(int(listening.get("/").text) - time.time() - HOUR) < 60
    clock.jump(-HOUR)
    assert abs(int(listening.get("/").text) - time.time() + HOUR) < 60


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_s66_what_drips_is_cut_and_what_is_idle_is_not(opened, clock, jump):
    idle, half = opened(), opened()
    idle.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert idle.recv(4096).startswith(b"HTTP/1.1 200 ")
    half.sendall(b"GET / HTTP/1.1\r\nHo")
    clock.jump(jump)
    begun = opened()
    begun.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
    time.sleep(1.5)  # a round of the care for connections, which must cut nobody yet
    half.sendall(b"st: x\r\n\r\n")
    assert half.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert begun.recv(4096).startswith(b"HTTP/1.1 408 ")
    idle.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert idle.recv(4096).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_s66_deadlines_of_lanes_go_on(opened, clock, jump):
    late, running = opened(), opened()
    late.sendall(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
    running.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    clock.jump(jump)
    assert late.recv(4096).startswith(b"HTTP/1.1 504 ")
    assert running.recv(4096).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_s66_probes_jobs_and_limits_go_on(service, clock, tmp_path, eventually, jump):
    users = tmp_path / "users"
    write_private(str(users), new_user("ann", "operator", PASSWORD).line.encode())
    running = service(auth="token", user_file=str(users), socket_users={str(os.getuid()): "admin"})
    place = running.request("DELETE", "/cache/clear", headers={"Prefer": "respond-async"}).headers["Location"]
    wrong = json.dumps({"name": "ann", "password": "wrong"})
    login = {"Content-Type": "application/json", **BROWSER}
    statuses = [running.request("POST", "/session", wrong, login).status for _ in range(6)]
    assert statuses == [401] * 5 + [429]
    eventually(lambda: running.get("/readyz").json()["checks"])
    clock.jump(2 * jump)
    assert running.request("POST", "/session", wrong, login).status == 429
    assert running.get(place).json()["state"] == "done"
    first = running.get("/readyz").json()["checks"][0]
    assert 0 <= first["age_seconds"] < 60
    eventually(lambda: running.get("/readyz").json()["checks"][0]["age_seconds"] < 0.15, "a probe has run again")


def test_s66_session_ends_by_its_text_and_one_from_the_future_is_refused(service, clock):
    running = service()
    began = running.request("GET", "/session", headers=BROWSER)
    page = {**BROWSER, "Cookie": began.headers["Set-Cookie"].partition(";")[0]}
    page["X-CSRF-Token"] = began.json()["csrf_token"]

    def change() -> int:
        return running.request("PUT", "/freeze/enable", headers=page).status

    expected = {0: 200, 1800: 200, -240: 200, -360: 403, -HOUR: 403, HOUR + 60: 403, 13 * HOUR: 403}
    found = {}
    for jump in expected:
        clock.jump(jump)
        found[jump] = change()
    assert found == expected
    clock.jump(0)
    assert change() == 200


def test_s66_audit_keeps_its_order_and_its_chain(service, clock, tmp_path):
    path = tmp_path / "audit.log"
    running = service(audit_file=str(path))
    routes = ["/freeze/enable", "/freeze/disable", "/hot_cache/enable", "/hot_cache/disable"]
    for jump, route in zip((0, HOUR, -HOUR, 0), routes, strict=True):
        clock.jump(jump)
        assert running.put(route).status == 200
    records = [json.loads(line) for line in path.read_text().splitlines()]
    lines = [record for record in records if "seq" in record]
    assert [line["seq"] for line in lines] == list(range(lines[0]["seq"], lines[0]["seq"] + 8))
    times = [line["time"] for line in lines]
    assert times != sorted(times)
    assert [entry["route"] for entry in running.get("/audit").json()["entries"]] == routes[::-1]
    durations = [line["duration_ms"] for line in lines if line["kind"] == "outcome"]
    assert all(0 <= duration < 60_000 for duration in durations)
    verify_files(path)
