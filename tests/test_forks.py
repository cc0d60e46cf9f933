"""A forked child has no server; when its parent dies, address and audit are free at once (S69)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PARENT = """
import os, signal, sys, warnings
from pathlib import Path
from lmcache_admin import InternalAPIServer
from lmcache_admin.engine import Configuration, Manager
warnings.simplefilter("ignore")  # forking beside threads is what is tested
where, audit = sys.argv[1:]
keys = {"internal_api_server_enabled": True, "extra_config": {"internal_api_server_audit_file": audit}}
if where.isdigit():
    keys["internal_api_server_port_start"] = int(where)
else:
    keys["internal_api_server_socket_path_prefix"] = where
manager = Manager(Configuration.from_mapping(keys, {}))
manager.start()
server = InternalAPIServer(manager)
server.start()
child = os.fork()
if child == 0:
    links = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    print("child", os.getpid(), sum(str(link).startswith("socket:") for link in links), flush=True)
    signal.pause()
signal.pause()
"""


@pytest.fixture(params=["tcp", "unix"])
def family(request, tmp_path: Path, free_port, serve, client) -> Iterator[tuple[Any, Any, Callable[[], Any]]]:
    """A parent with a forked child: the parent, a client, and what starts another server at that address."""
    port, prefix, audit = free_port(2), str(tmp_path / "api"), str(tmp_path / "audit.log")
    tcp = request.param == "tcp"
    command = [sys.executable, "-c", PARENT, str(port) if tcp else prefix, audit]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    _, child, sockets = parent.stdout.readline().split()
    assert sockets == "0", "the child holds sockets of its parent"

    def again() -> Any:
        address = {"internal_api_server_port_start": port, "internal_api_server_socket_path_prefix": None}
        return serve(extra={"audit_file": audit}, **(address if tcp else {}))

    try:
        yield parent, client(port + 1 if tcp else f"{prefix}_7000"), again
    finally:
        os.kill(int(child), signal.SIGKILL)
        parent.kill()
        parent.wait(30)
        parent.stdout.close()


def test_s69_address_and_audit_are_free_when_the_parent_is_killed_and_a_child_lives(family):
    parent, asked, again = family
    assert asked.get("/healthz").status == 200
    assert asked.put("/freeze/enable").status == 200
    parent.kill()
    parent.wait(30)
    with pytest.raises(ConnectionRefusedError):
        asked.get("/healthz")
    server = again()
    assert server.target == asked.target
    assert server.put("/freeze/disable").status == 200
    entries = server.server.service.audit.newest(2)
    assert [entry["route"] for entry in entries] == ["/freeze/disable", "/freeze/enable"]


FORKING = """
import os, sys, warnings
from lmcache_admin import InternalAPIServer
from lmcache_admin.engine import Configuration, Manager
warnings.simplefilter("ignore")  # forking beside threads is what is tested
keys = {"internal_api_server_enabled": True, "internal_api_server_socket_path_prefix": sys.argv[1]}
manager = Manager(Configuration.from_mapping(keys, {}))
manager.start()
server = InternalAPIServer(manager)
server.start()
child = os.fork()
if child == 0:
    server.stop()
    os._exit(0 if os.path.exists(server.socket_path) else 9)
status = os.waitpid(child, 0)[1]
server.stop()
manager.stop()
print(os.waitstatus_to_exitcode(status), os.path.exists(server.socket_path))
"""


def test_s69_child_of_a_fork_stops_without_taking_the_parents_socket(tmp_path):
    command = [sys.executable, "-c", FORKING, str(tmp_path / "f")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "0 False\n"
    assert done.stderr == ""
