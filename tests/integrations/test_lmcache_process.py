"""A real LMCache 0.5.6 process with our server in it: where it listens, how it ends, what never happens to it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.lmcache

OURS = ("-m", "lmcache_admin", "run", "-m", "lmcache.v1.standalone")
SERVER = "lmcache_admin.integrations.lmcache_server.LMCacheAPIServer"
CPU, DISK = "LocalCPUBackend", "LocalDiskBackend"


@pytest.fixture(scope="module")
def facts(lmcache_python: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `lmcache_scenarios.py` saw; `log` is what the engines wrote meanwhile."""
    script = Path(__file__).with_name("lmcache_scenarios.py")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LMCACHE_")}
    done = subprocess.run(
        [lmcache_python, str(script), str(tmp_path_factory.mktemp("engines"))],
        env={**environment, "PYTHONHASHSEED": "0", "LMCACHE_TRACK_USAGE": "false"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "log": done.stderr}


@pytest.fixture(scope="module")
def on_socket(start_standalone: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A standalone, worker 2, that listens on a Unix socket in a folder that is not there yet."""
    prefix = str(tmp_path_factory.mktemp("s") / "made" / "api")
    standalone = start_standalone(
        OURS, worker_id=2, internal_api_server_port_start=7400, internal_api_server_socket_path_prefix=prefix
    )
    standalone.wait_until_it_answers()
    assert standalone.target == f"{prefix}_7403"
    return standalone


def test_it_listens_on_the_socket_of_its_prefix_and_port(on_socket: Any) -> None:
    stored = on_socket.request("POST", "/cache/store?tokens_mock=0,40")
    assert stored.json()["num_tokens"] == 40
    assert on_socket.request("POST", "/cache/retrieve?tokens_mock=0,40").json()["num_retrieved"] == 32
    assert on_socket.request("GET", "/meta?names=worker_id").json() == {"worker_id": 2}
    assert stat.S_IMODE(os.stat(on_socket.target).st_mode) == 0o600


def test_it_ends_on_sigterm_and_leaves_no_socket_file(on_socket: Any) -> None:
    assert on_socket.end() == 0
    assert not os.path.exists(on_socket.target)


def test_it_writes_lmcaches_lines_and_no_warning_of_our_keys(on_socket: Any) -> None:
    on_socket.end()
    log = on_socket.log.read_text()
    for line in ("Init", "Starting LMCache", "Running LMCache"):
        assert f"{line} internal API server on socket {on_socket.target}" in log
    assert "Stopping LMCache internal API server" in log
    assert "Unknown configuration key" not in log
    assert "Traceback" not in log


def test_a_port_in_use_leaves_the_engine_running_and_says_one_line(facts: dict[str, Any]) -> None:
    seen = facts["addresses"]["port in use"]
    assert (seen["enable"], seen["healthy"], seen["kept"]) == (False, True, 32)
    line = f"No internal API server: cannot listen on 127.0.0.1:{seen['port']}: address already in use"
    assert facts["log"].count(line) == 1


@pytest.mark.parametrize(
    ("case", "part"),
    [
        ("bad port", "internal_api_server_port_start: 70000 is not allowed"),
        ("unknown key", "the nearest is internal_api_server_local_users"),
        ("policy", "internal_api_server_host: '0.0.0.0' is not allowed"),
    ],
)
def test_a_bad_setting_leaves_the_engine_running_and_says_one_line(facts: dict[str, Any], case: str, part: str) -> None:
    seen = facts["addresses"][case]
    assert (seen["enable"], seen["healthy"], seen["kept"]) == (False, True, 32)
    assert part in seen["error"]
    assert facts["log"].count(f"No internal API server: {seen['error']}") == 1


def test_a_worker_listens_one_above_its_id(facts: dict[str, Any]) -> None:
    seen = facts["addresses"]["worker 3"]
    assert (seen["enable"], seen["port"]) == (True, seen["expected"])


@pytest.mark.parametrize("case", ["replaced not", "replaced not by variable"])
def test_a_setting_keeps_lmcaches_own_server(facts: dict[str, Any], case: str) -> None:
    seen = facts["addresses"][case]
    assert seen["class"] == "lmcache.v1.internal_api_server.api_server.InternalAPIServer"
    assert seen["kept"] == 32


def test_the_plugin_imports_nothing_and_makes_both_factories_build_ours(facts: dict[str, Any]) -> None:
    assert facts["plugin"] == {
        "imported": [],
        "finders": 1,
        "servers": [SERVER, SERVER],
        "not imported": ["fastapi", "uvicorn"],
    }


def test_lmcaches_factory_for_vllm_builds_what_the_configuration_says(facts: dict[str, Any]) -> None:
    assert facts["vllm"] == {
        "enabled": ["LMCacheAPIServer", True],
        "not enabled": ["LMCacheAPIServer", False],
        "not replaced": ["InternalAPIServer", True],
        "rank 1": None,  # vLLM's other data-parallel ranks have no server, LMCache decides that
    }


def test_before_post_init_what_needs_no_storage_is_answered(facts: dict[str, Any]) -> None:
    before = facts["window"]["before"]
    assert {line: before.pop(line)[0] for line in ("GET /healthz", "GET /version", "GET /conf?names=chunk_size")} == {
        "GET /healthz": 200,
        "GET /version": 200,
        "GET /conf?names=chunk_size": 200,
    }
    assert before.pop("GET /cache/kvcache/info")[0] == 404
    assert {status for status, _ in before.values()} == {503}
    assert all("StorageManager" in said or "storage manager" in said or "engine" in said for _, said in before.values())


def test_after_post_init_everything_is_answered_and_nothing_was_switched_before(facts: dict[str, Any]) -> None:
    assert {status for status, _ in facts["window"]["after"].values()} == {200}
    assert facts["window"]["frozen"] is False


def test_probes_ask_the_engine_and_each_backend(facts: dict[str, Any]) -> None:
    well = facts["probes"]["well"]
    assert [well["engine"], well[CPU], well[DISK]] == [["ok", ""]] * 3
    assert well["health_monitor"][0] == "skipped"  # LMCache starts it for remote backends only


def test_probes_never_store_nor_retrieve(facts: dict[str, Any]) -> None:
    assert facts["probes"]["in memory"] == 0  # and neither call was made, or the scenario had ended there


def test_what_an_operator_switched_off_is_skipped(facts: dict[str, Any]) -> None:
    probes = facts["probes"]
    assert [probes["frozen"][name] for name in (CPU, DISK)] == [["skipped", "frozen"]] * 2
    assert probes["bypassed"][DISK] == ["skipped", "bypassed"]
    assert probes["bypassed"][CPU] == ["ok", ""]
    assert probes["closed since"] == ["skipped", "closed"]


def test_what_fails_is_a_finding(facts: dict[str, Any]) -> None:
    probes = facts["probes"]
    assert probes["folder gone"][DISK][0] == "failed"
    assert probes["unwell"]["engine"] == ["failed", "is_healthy() is false"]


def test_an_embedded_engine_beside_lmcache_is_probed_as_ever(facts: dict[str, Any]) -> None:
    assert facts["probes"]["embedded engine"] == {CPU: ["ok", ""]}


def test_a_periodic_thread_that_ended_by_itself_has_died(facts: dict[str, Any]) -> None:
    assert facts["threads"] == {"failing": True, "stopped": False, "never": False, "unknown": None}


def test_lmcache_has_every_member_that_we_use_and_takes_our_calls(facts: dict[str, Any]) -> None:
    assert facts["surface"]["lacking"] == {}


def test_every_protocol_of_the_host_was_compared(facts: dict[str, Any]) -> None:
    # our own integrations or our embedded engine offer these; LMCache has no such things
    ours = {"ChunkSource", "Counted", "Loading", "Probe", "Probed", "Runtime", "Versioned", "Watched"}
    assert set(facts["surface"]["not compared"]) <= ours
