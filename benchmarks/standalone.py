"""Real LMCache processes for the benchmarks that need its engine: the standalone starter, with our server or its."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bench import HERE, Server, free_port

OWN = ("-m", "lmcache.v1.standalone")
COMMANDS = {"ours": ("-m", "lmcache_admin", "run", *OWN), "peer": OWN}
CEILING = 120.0  # seconds


class Reply(NamedTuple):
    """What a server answered, and after how many seconds."""

    status: int
    body: bytes
    seconds: float


@contextlib.contextmanager
def engine(kind: str, options: argparse.Namespace, *given: str, **configuration: Any) -> Iterator[Server]:
    """Start LMCache's standalone starter, and end it.

    Args:
        kind: Whose server is in it, `ours` or `peer`.
        options: From `arguments`; LMCache's interpreter runs both.
        given: Further arguments of the starter.
        configuration: Keys of the engine.
    """
    if options.peer_python is None:
        raise SystemExit("This needs an interpreter with LMCache, for both servers.")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="engine") as name:
        file = Path(name, "lmcache.yaml")
        file.write_text(json.dumps(_settings(Path(name), port, configuration)))  # JSON is YAML
        command = [options.peer_python, *COMMANDS[kind], "--config", str(file), *given]
        with Path(name, "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=name, env=_environment())
        try:
            _wait(process, port, Path(name, "log"))
            yield Server(kind, port, process.pid, {})
        finally:
            process.kill()
            process.wait()


def ask(server: Server, method: str, path: str) -> Reply:
    """Send one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=CEILING)
    began = time.perf_counter()
    try:
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read()
        return Reply(response.status, body, time.perf_counter() - began)
    finally:
        connection.close()


def _settings(folder: Path, port: int, configuration: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "chunk_size": 16,
        "local_cpu": True,
        "max_local_cpu_size": 0.05,
        "local_disk": f"{folder}/disk/",
        "max_local_disk_size": 0.05,
        "internal_api_server_enabled": True,
        "internal_api_server_port_start": port - 1,  # worker 0 serves on the next one
        **configuration,
    }


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LMCACHE_")}
    own = {"PYTHONPATH": str(HERE.parent), "PYTHONHASHSEED": "0", "LMCACHE_LOG_LEVEL": "ERROR"}
    return {**kept, **own, "LMCACHE_TRACK_USAGE": "false"}


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + CEILING
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError):
            ask(Server("", port, process.pid, {}), "GET", "/version")
            return
        time.sleep(0.1)
    raise SystemExit(f"an engine did not start:\n{log.read_text()[-4000:]}")
