"""InternalAPIServer as a host sees it: addresses, attributes, and failures that never reach the host."""

import logging
import os
import socket
import stat
import subprocess
import sys
import threading

import pytest

from lmcache_admin import InternalAPIServer
from lmcache_admin.engine import Configuration, Manager


@pytest.fixture
def make(tmp_path):
    """Make a server, without starting it, for a manager of the embedded engine."""
    stops = []

    def build(role="worker", worker_id=0, started=True, **keys):
        prefix = {"internal_api_server_socket_path_prefix": str(tmp_path / "api")}
        values = {"internal_api_server_enabled": True, "max_local_cpu_size": 0.01, **prefix, **keys}
        manager = Manager(Configuration.from_mapping(values, {}), role=role, worker_id=worker_id)
        if started:
            manager.start()
        stops.append(manager.stop)
        server = InternalAPIServer(manager)
        stops.append(server.stop)
        return server

    yield build
    for stop in reversed(stops):
        stop()


def tcp(port):
    return {"internal_api_server_socket_path_prefix": None, "internal_api_server_port_start": port}


def errors(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    ("role", "worker_id", "offset"), [("scheduler", 0, 0), ("scheduler", 3, 0), ("worker", 0, 1), ("worker", 7, 8)]
)
def test_port_is_the_start_plus_0_for_a_scheduler_and_1_plus_its_id_for_a_worker(make, role, worker_id, offset):
    server = make(role, worker_id, **tcp(20000))
    assert (server.port, server.socket_path, server.enable) == (20000 + offset, None, True)
    assert server.server_log_info == f"port {20000 + offset}"


def test_scheduler_with_an_engine_has_the_schedulers_offset(make):
    server = make()
    manager = server.service.manager
    manager.lmcache_engine_metadata.role = "scheduler"
    assert InternalAPIServer(manager).port == 6999


def test_worker_whose_engine_failed_to_build_takes_the_schedulers_offset_as_the_contract_has_it(make):
    assert make(started=False).port == 6999


def test_socket_is_named_by_prefix_and_port_and_there_is_no_tcp_listener(make, tmp_path):
    server = make(internal_api_server_port_start=20000)
    assert server.socket_path_prefix == str(tmp_path / "api")
    assert server.socket_path == f"{tmp_path / 'api'}_20001"
    assert server.server_log_info == f"socket {tmp_path / 'api'}_20001"
    server.start()
    assert stat.S_IMODE(os.stat(server.socket_path).st_mode) == 0o600
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", 20001), 5)


@pytest.mark.parametrize(
    ("include", "role", "worker_id", "enabled"),
    [
        (None, "worker", 0, True),
        ([], "worker", 3, True),
        ([0], "scheduler", 0, True),
        ([0], "worker", 0, False),
        ([1, 3], "worker", 0, True),
        ([1, 3], "worker", 1, False),
        ([1, 3], "worker", 2, True),
        ([1, 3], "scheduler", 0, False),
    ],
)
def test_include_list_names_offsets_and_an_empty_one_means_all(make, include, role, worker_id, enabled):
    server = make(role, worker_id, internal_api_server_include_index_list=include)
    assert server.enable is enabled
    assert server.error is None


@pytest.mark.parametrize(("enabled", "include", "shown"), [(False, None, "None"), (True, [5], "(5,)")])
def test_server_that_is_off_says_one_line_and_does_nothing(make, tmp_path, caplog, enabled, include, shown):
    caplog.set_level(logging.INFO, "lmcache_admin.internal_api_server")
    server = make(internal_api_server_enabled=enabled, internal_api_server_include_index_list=include)
    server.start()
    server.stop()
    assert (server.enable, server.app, server.server) == (False, None, None)
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        f"Internal API server disabled. internal_api_server_enabled={enabled}, port_offset=1, port=7000, "
        f"socket_path={tmp_path / 'api'}_7000, include_index_list={shown}"
    ]
    assert not list(tmp_path.iterdir())


def test_lines_of_start_and_stop_name_the_address(make, caplog):
    caplog.set_level(logging.INFO, "lmcache_admin.internal_api_server")
    server = make()
    server.start()
    server.stop()
    assert [record.getMessage() for record in caplog.records] == [
        f"Init internal API server on {server.server_log_info}",
        f"Starting LMCache internal API server on {server.server_log_info}",
        f"Running LMCache internal API server on {server.server_log_info}",
        "Stopping LMCache internal API server",
    ]


def test_the_loop_has_the_name_of_the_contract_and_ends_with_the_server(make):
    def names():
        return {thread.name for thread in threading.enumerate() if thread.daemon}

    server = make()
    server.start()
    assert "api-server-thread" in names()
    server.stop()
    assert "api-server-thread" not in names()


def test_scripts_find_manager_and_controller_in_the_applications_state(make):
    server = make()
    controller = object()
    server.attach_controller(controller)
    assert server.app.state.lmcache_adapter is server.service.manager
    assert server.app.state.lmcache_controller_manager is controller


def test_start_and_stop_may_be_called_twice_and_in_any_order(make, client):
    server = make()
    server.stop()
    server.start()
    server.start()
    assert client(server.socket_path).get("/healthz").status == 200
    server.stop()
    server.stop()
    assert not os.path.exists(server.socket_path)


def test_stopped_server_does_not_start_again_and_says_so(make, caplog):
    server = make()
    server.start()
    server.stop()
    server.start()
    assert not os.path.exists(server.socket_path)
    (line,) = errors(caplog)
    assert server.server_log_info in line
    assert "was stopped" in line


@pytest.mark.parametrize(
    ("keys", "part"),
    [
        ({"internal_api_server_port_start": 65535}, "internal_api_server_port_start"),
        ({"internal_api_server_socket_path_prefix": "/tmp/" + "x" * 110}, "internal_api_server_socket_path_prefix"),
        (tcp(20000) | {"internal_api_server_host": "0.0.0.0"}, "internal_api_server_host"),
        ({"extra_config": {"internal_api_server_auth": "nobody"}}, "internal_api_server_auth"),
        ({"extra_config": {"internal_api_server_no_such": 1}}, "internal_api_server_no_such"),
        ({"extra_config": {"internal_api_server_lane_threads": {"light": 0}}}, "internal_api_server_lane_threads"),
    ],
)
def test_s1_bad_setting_is_one_line_with_its_key_and_the_engine_goes_on(make, caplog, keys, part):
    server = make(**keys)
    server.start()
    server.attach_controller(object())
    server.stop()
    assert (server.enable, server.app, server.server) == (False, None, None)
    (line,) = errors(caplog)
    assert part in line
    assert "\n" not in line
    assert server.error in line


def test_s70_port_in_use_is_one_line_and_the_engine_goes_on(make, free_port, caplog):
    port = free_port(2)
    with socket.create_server(("127.0.0.1", port + 1)):
        server = make(**tcp(port))
        server.start()
    assert server.enable is False
    (line,) = errors(caplog)
    assert str(port + 1) in line
    assert "\n" not in line
    assert server.service.manager.is_healthy()
    server.stop()


@pytest.mark.parametrize("family", ["tcp", "socket"])
def test_s70_server_whose_address_is_asked_for_again_serves_on(make, free_port, client, family, caplog):
    keys = tcp(free_port(2)) if family == "tcp" else {}
    first, second = make(**keys), make(**keys)
    first.start()
    second.start()
    second.stop()
    assert (first.enable, second.enable) == (True, False)
    assert len(errors(caplog)) == 1
    asked = client(first.socket_path or first.port)
    assert asked.get("/healthz").status == 200
    assert asked.put("/freeze/enable").status == 200


def test_s70_folder_that_cannot_be_made_is_one_line_and_the_engine_goes_on(make, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    server = make(internal_api_server_socket_path_prefix=str(tmp_path / "file" / "api"))
    server.start()
    assert server.enable is False
    (line,) = errors(caplog)
    assert str(tmp_path / "file") in line


class NoAttributes:
    """A manager that has nothing of what is asked."""


class Raising:
    """A manager whose every attribute raises."""

    def __getattr__(self, name):
        raise RuntimeError(f"{name} is not to be had")


@pytest.mark.parametrize("manager", [None, 5, NoAttributes(), Raising()], ids=lambda manager: type(manager).__name__)
def test_constructor_never_raises_whatever_the_manager_is(caplog, manager):
    server = InternalAPIServer(manager)
    server.start()
    server.attach_controller(object())
    server.stop()
    assert server.enable is False
    assert server.error
    assert len(errors(caplog)) == 1


def test_two_servers_of_one_process_share_nothing(serve):
    scheduler, worker = serve(role="scheduler"), serve()
    worker.put("/freeze/enable")
    assert scheduler.get("/freeze/status").status == 503
    assert scheduler.get("/audit").json()["entries"] == []
    assert scheduler.server.app is not worker.server.app
    scheduler.server.stop()
    assert worker.get("/freeze/status").json()["freeze"] is True


MANY_FILES = """
import http.client, os, resource, sys
from lmcache_admin import InternalAPIServer
from lmcache_admin.engine import Configuration, Manager
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
opened = [open(os.devnull) for _ in range(2000)]
keys = {"internal_api_server_enabled": True, "internal_api_server_port_start": int(sys.argv[1])}
manager = Manager(Configuration.from_mapping(keys, {}))
manager.start()
server = InternalAPIServer(manager)
server.start()
for path in ("/healthz", "/metrics", "/freeze/status"):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", path)
    print(connection.sock.fileno() > 1024, connection.getresponse().status)
server.stop()
manager.stop()
"""


def test_s41_process_with_2000_open_files_serves(free_port):
    command = [sys.executable, "-c", MANY_FILES, str(free_port(2))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "True 200\n" * 3
