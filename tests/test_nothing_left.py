"""After stop() nothing of ours is left in the process or on disk: threads, descriptors, sockets, half files."""

from __future__ import annotations

import gc
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from lmcache_admin import InternalAPIServer
from lmcache_admin.engine import Configuration, Manager

CYCLES = 20
ASYNC = {"Prefer": "respond-async"}


def descriptors() -> dict[str, str]:
    """Open descriptors and what they stand for."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            found[number] = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:  # the one that listed them
            continue
    return found


def threads() -> set[int | None]:
    return {thread.ident for thread in threading.enumerate()}


def managers(folder: Path, port: int | None) -> list[Manager]:
    """Scheduler and worker of one instance, with all that opens files, sockets and threads."""
    address: dict[str, Any] = {"internal_api_server_socket_path_prefix": str(folder / "api")}
    if port is not None:
        address = {"internal_api_server_port_start": port}
    ours = {"audit_file": str(folder / "audit.log"), "metrics_host": "127.0.0.1", "metrics_port_start": port or 6899}
    if port is None:
        del ours["metrics_host"]
    extra = {f"internal_api_server_{key}": value for key, value in ours.items()}
    values = {
        "internal_api_server_enabled": True,
        **address,
        "chunk_size": 16,
        "max_local_cpu_size": 0.01,
        "local_disk": str(folder / "chunks"),
        "max_local_disk_size": 0.01,
        "lmcache_instance_id": "left",
        "enable_chunk_statistics": True,
        "extra_config": {**extra, "embedded_engine_lookup_folder": str(folder / "lookups")},
    }
    if port is not None:
        values["extra_config"]["internal_api_server_metrics_port_start"] = port + 2
    return [Manager(Configuration.from_mapping(values, {}), role=role) for role in ("worker", "scheduler")]


def use(worker: Any, scheduler: Any) -> None:
    """Jobs, changes, reads, a refused try, a large answer: what may leave something."""
    assert worker.post("/cache/store?tokens_mock=0,320").status == 200
    assert worker.post("/cache/retrieve?tokens_mock=0,320").json()["num_retrieved"] == 320
    assert scheduler.post("/chunk_statistics/start").status == 200
    assert scheduler.get("/chunk_statistics/status").status == 200
    assert worker.post("/lookup/recreate").status == 200
    assert scheduler.post("/lookup/recreate").status == 200
    assert worker.post("/backends/LocalDiskBackend/recreate").status == 200
    job = worker.request("DELETE", "/cache/clear", headers=ASYNC)
    assert job.status == 202
    for path in ("/readyz", "/metrics", "/threads", "/env", "/jobs", "/openapi.json", job.headers["Location"]):
        assert worker.get(path).status == 200
    assert worker.get("/freeze/status", Origin="http://evil.example").status == 403
    assert worker.post("/conf", b"x" * 700_000).status == 400  # a body that waits in a file


def cycle(folder: Path, port: int | None, client: Any) -> None:
    both = managers(folder, port)
    servers = [InternalAPIServer(manager) for manager in both if not manager.start()]
    for server in servers:
        server.start()
        assert server.error is None, server.error
    worker, scheduler = (client(server.socket_path or server.port) for server in servers)
    use(worker, scheduler)
    idle, half = (connect(worker.target) for _ in range(2))
    half.sendall(b"POST /conf HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nx")
    for server in servers:
        server.stop()
    for manager in both:
        manager.stop()
    idle.close()
    half.close()


def connect(target: Any) -> socket.socket:
    if isinstance(target, int):
        return socket.create_connection(("127.0.0.1", target), 30)
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(target)
    return connection


@pytest.mark.parametrize("tcp", [False, True], ids=["socket", "tcp"])
def test_twenty_starts_and_stops_leave_no_thread_descriptor_or_file(tmp_path, client, eventually, free_port, tcp):
    port = free_port(5) if tcp else None
    cycle(tmp_path, port, client)  # what a process opens once and for all
    gc.collect()
    before_threads, before = threads(), descriptors()
    for _ in range(CYCLES):
        cycle(tmp_path, port, client)
    gc.collect()
    eventually(lambda: threads() <= before_threads, "the threads are those of before")
    after = descriptors()
    assert len(after) == len(before), {number: after[number] for number in set(after) - set(before)}
    names = {path.name for path in tmp_path.rglob("*") if not path.is_dir()}
    chunks = {name for name in names if name.endswith(".chunk")}
    assert {name for name in names - chunks if not name.endswith(".lock")} == {"audit.log", "audit.log.head"}
    assert not [path for path in tmp_path.rglob("*") if path.is_socket()]


def test_starts_that_fail_leave_no_thread_descriptor_or_file(tmp_path, free_port):
    port = free_port(5)
    with socket.create_server(("127.0.0.1", port + 1)):
        worker, _ = managers(tmp_path, port)
        worker.start()
        InternalAPIServer(worker).start()  # what a process opens once and for all
        gc.collect()
        before_threads, before = threads(), descriptors()
        for _ in range(5):
            server = InternalAPIServer(worker)
            server.start()
            assert "address already in use" in (server.error or "")
            server.stop()
            del server
        gc.collect()
        assert threads() == before_threads
        after = descriptors()
        assert len(after) == len(before), {number: after[number] for number in set(after) - set(before)}
        worker.stop()
