"""`serve` on a machine without any network: all of it works, and it tries to reach nobody (S62)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

#: Read by the interpreter before anything else: writes down whom the process asks for, or wants to reach.
WATCH = """
import os, sys

def told(event, arguments):
    if event == "socket.connect":
        place = arguments[1]
        if isinstance(place, tuple) and not str(place[0]).startswith(("127.", "::1", "localhost")):
            note(event, place)
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        name = str(arguments[0] or "localhost")
        if name != "localhost" and name.strip("0123456789.") and ":" not in name:  # an address asks nobody
            note(event, arguments)

def note(event, what):
    with open(os.environ["WATCHED"], "a") as file:
        file.write(f"{event} {what!r}\\n")

sys.addaudithook(told)
"""
P = "internal_api_server_"


@pytest.fixture(name="alone")
def alone_fixture(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command in a network of its own that has no way out, not even to itself."""
    wrapped = ["unshare", "--user", "--map-root-user", "--net"]
    try:
        tried = subprocess.run([*wrapped, "true"], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if tried.returncode:
        pytest.skip("no network of its own for an ordinary user here")
    processes: list[subprocess.Popen[str]] = []

    def start(*command: str, **options: Any) -> subprocess.Popen[str]:
        processes.append(subprocess.Popen([*wrapped, *command], text=True, **options))
        return processes[-1]

    yield start
    for process in processes:
        process.terminate()
        process.wait(60)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def test_s62_without_a_network_every_route_answers_and_nobody_is_asked_for(
    alone: Callable[..., subprocess.Popen[str]], client: Any, tmp_path: Path
) -> None:
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "sitecustomize.py").write_text(WATCH)
    watched = tmp_path / "watched"
    package = str(Path(__import__("lmcache_admin").__file__).parent.parent)
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "WATCHED": str(watched)}
    environ["PYTHONPATH"] = f"{tmp_path / 'hooks'}:{package}"
    serve = [sys.executable, "-m", "lmcache_admin", "serve", "--socket-prefix", str(tmp_path / "api")]
    with (tmp_path / "log").open("w") as log:
        process = alone(*serve, env=environ, cwd=tmp_path, stdout=subprocess.PIPE, stderr=log)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("Ctrl-C"):
            break
    talker = client(str(tmp_path / "api_7000"))
    routes = talker.get("/blueprints").json()["routes"]
    assert len(routes) > 40
    for route in routes:
        path = route["path"].replace("<name>", "LocalCPUBackend").replace("<", "").replace(">", "")
        query = "?tokens_mock=0,512" if "cache/" in path else ""
        status = talker.request(route["method"], path + query).status
        assert status < 500 or status in (501, 503), route  # a host without a controller, say
    assert talker.post("/cache/store?tokens_mock=0,512").json()["num_stored"] == 512
    assert not watched.exists(), watched.read_text()
    assert "Network is unreachable" not in (tmp_path / "log").read_text()


def test_s62_the_watch_does_see_who_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    program = "import socket\ntry: socket.create_connection(('192.0.2.1', 9), 0.01)\nexcept OSError: pass"
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path), "WATCHED": str(tmp_path / "watched")}
    subprocess.run([sys.executable, "-c", program], env=environ, check=True)
    assert "192.0.2.1" in (tmp_path / "watched").read_text()
