"""Lookups in `serve`: both parts are there without a setting, and a scheduler of another process finds its worker."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lmcache_admin.engine import Configuration, Manager


def fetched(port: int, path: str, method: str = "GET") -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_scheduler_and_worker_show_their_part(start: Callable[..., Any], free_port: Callable[[int], int]) -> None:
    port = free_port(2)
    start("--port-start", str(port))
    assert fetched(port, "/lookup/info") == {"client": "LookupClient", "server": "None"}
    assert fetched(port + 1, "/lookup/info") == {"client": "None", "server": "LookupServer"}
    assert fetched(port, "/lookup/recreate", "POST")["new"] == "LookupClient"
    assert fetched(port + 1, "/lookup/recreate", "POST")["new"] == "LookupServer"


def test_a_scheduler_of_another_process_finds_what_the_worker_has(
    start: Callable[..., Any], free_port: Callable[[int], int], tmp_path: Path
) -> None:
    port = free_port(2)
    started = start("--port-start", str(port), LMCACHE_LMCACHE_INSTANCE_ID=str(tmp_path))
    assert fetched(port + 1, "/cache/store?tokens_mock=0,600", "POST")["status"] == "success"
    scheduler = Manager(Configuration.from_mapping({"lmcache_instance_id": str(tmp_path)}, {}), "scheduler")
    scheduler.start()
    try:
        client = scheduler.lookup_client
        assert client is not None
        assert client.lookup(list(range(600)), "r") == 512
        assert started.end() == 0
        assert client.lookup(list(range(600)), "r") == 0
    finally:
        scheduler.stop()


def test_a_folder_that_cannot_be_had_is_one_line_and_the_service_runs(
    start: Callable[..., Any], free_port: Callable[[int], int], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    extra = json.dumps({"embedded_engine_lookup_folder": str(tmp_path / "file")})
    port = free_port(2)
    started = start("--port-start", str(port), LMCACHE_EXTRA_CONFIG=extra)
    assert fetched(port + 1, "/lookup/info") == {"client": "None", "server": "None"}
    lines = started.errors.read_text().splitlines()
    assert len([line for line in lines if "No lookup server: cannot listen on" in line]) == 1
    assert "Traceback" not in started.errors.read_text()
