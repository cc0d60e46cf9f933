"""Chunk files loaded into a real LMCache 0.5.6: by our server beside its own, and past what would stop an engine."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.lmcache

PATH, JSON = "/cache/load-fs-chunks", {"Content_Type": "application/json"}
OWN = ("-m", "lmcache.v1.standalone")
FULL = "memory is full of chunks of this load"


@pytest.fixture(scope="module")
def facts(lmcache_python: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `lmcache_chunk_scenarios.py` saw."""
    script = Path(__file__).with_name("lmcache_chunk_scenarios.py")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LMCACHE_")}
    done = subprocess.run(
        [lmcache_python, str(script), str(tmp_path_factory.mktemp("c"))],
        env={**environment, "PYTHONHASHSEED": "0", "LMCACHE_TRACK_USAGE": "false"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def folder(start_standalone: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty chunks that LMCache's own server wrote, and a file that is none."""
    made = tmp_path_factory.mktemp("chunks")
    writer = start_standalone(OWN, remote_url=f"fs://localhost:0{made}", remote_serde="naive")
    writer.wait_until_it_answers()
    writer.request("POST", "/cache/store?tokens_mock=9000,9320")
    end = time.monotonic() + 60
    while len(list(made.glob("*.data"))) < 20:
        assert time.monotonic() < end, writer.log.read_text()
        time.sleep(0.01)
    writer.end()
    (made / "garbage.data").write_bytes(b"not a chunk")
    return made


@pytest.fixture(scope="module")
def config(pair: Any, folder: Path) -> str:
    """A configuration beside the settings file that our engine was started with."""
    path: Path = pair.ours.log.parent / "store.yaml"
    path.write_text(f"chunk_size: 16\nremote_serde: naive\nremote_url: fs://localhost:0{folder}\n")
    return str(path)


def both(pair: Any, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both engines' answers to a load; statuses and types are the same."""
    ours, theirs = pair.both("POST", PATH, json.dumps(body).encode(), **JSON)
    return ours.json(), theirs.json()


def test_both_load_what_lmcache_wrote_and_find_it_afterwards(pair: Any, config: str) -> None:
    pair.both("DELETE", "/cache/clear")
    ours, theirs = both(pair, {"config_path": config})
    assert theirs["loaded_chunks"] == 20
    assert {key: ours[key] for key in theirs} == theirs
    assert list(ours)[: len(theirs)] == list(theirs)
    found, expected = pair.both("POST", "/cache/retrieve?tokens_mock=9000,9320")
    assert found.json() == expected.json() == {"status": "success", "num_tokens": 320, "num_retrieved": 320}


@pytest.mark.parametrize("more", [{"max_chunks": 0}, {"max_chunks": "7"}, {"max_failed_keys": 0}, {"unknown": 1}])
def test_both_count_the_same(pair: Any, config: str, more: dict[str, Any]) -> None:
    ours, theirs = both(pair, {"config_path": config, **more})
    compared = ("status", "total_files", "config_path")
    assert {key: ours[key] for key in compared} == {key: theirs[key] for key in compared}
    assert ours["loaded_chunks"] + len(ours["failed_keys"]) == theirs["loaded_chunks"] + len(theirs["failed_keys"])


@pytest.mark.parametrize(
    ("name", "content", "status"),
    [
        ("absent", None, 400),
        ("broken", "chunk_size: [\n", 400),
        ("empty", "", 500),
        ("without a URL", "chunk_size: 256\n", 500),
        ("extra_config of another type", "remote_url: fs://localhost:0/x\nextra_config: 5\n", 400),
        ("without a port", "remote_url: fs://localhost/x\n", 500),
        ("without a scheme", "remote_url: x\n", 500),
    ],
)
def test_both_say_in_the_same_bytes_what_is_wrong(pair: Any, name: str, content: str | None, status: int) -> None:
    path = pair.ours.log.parent / f"{name}.yaml"
    if content is not None:
        path.write_text(content)
    ours, theirs = pair.both("POST", PATH, json.dumps({"config_path": str(path)}).encode(), **JSON)
    assert (ours.status, ours.body) == (status, theirs.body)


def test_a_file_elsewhere_is_read_by_lmcache_and_not_by_us(pair: Any, config: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "store.yaml"
    elsewhere.write_text(Path(config).read_text())
    body = json.dumps({"config_path": str(elsewhere)}).encode()
    servers = (pair.ours, pair.theirs)
    ours, theirs = (server.request("POST", PATH, body, {"Content-Type": "application/json"}) for server in servers)
    assert (ours.status, theirs.status) == (400, 200)
    assert ours.json() == {"detail": f"Invalid configuration file: [Errno 2] No such file or directory: '{elsewhere}'"}


def test_the_embedded_engine_loads_what_lmcache_wrote(serve: Any, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "store.yaml").write_text(f"remote_url: fs://localhost:0{folder}\n")
    running = serve(
        extra={"config_folders": [str(tmp_path)]}, extra_config={"embedded_engine_model_name": "standalone_model"}
    )
    answer = running.post(PATH, json.dumps({"config_path": str(tmp_path / "store.yaml")})).json()
    assert (answer["loaded_chunks"], answer["failed_keys"]) == (20, ["garbage"])
    assert running.post("/cache/retrieve?tokens_mock=9000,9320").json()["num_retrieved"] == 320


def test_every_chunk_is_in_memory_once_with_its_bytes(facts: dict[str, Any]) -> None:
    fresh = facts["fresh"]
    assert (fresh["answer"]["loaded_chunks"], fresh["files"], fresh["again"]) == (40, 40, 40)
    assert fresh["equal"]
    assert fresh["references"] == [1]  # memory's own alone: it can be evicted
    assert fresh["shapes"] == ["[2, 2, 16, 64]"]
    assert fresh["taken"][0] == fresh["taken"][1] > 0


def test_the_engines_own_remote_backend_keeps_its_figures(facts: dict[str, Any]) -> None:
    assert facts["written"] == {"loaded": 40, "gauge": [3.0, 3.0, 0.0]}


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("huge", "it has 1073741824 tokens, a chunk of this engine 256 at most"),
        ("more tokens", "it has 320 tokens, a chunk of this engine 256 at most"),
        ("other layers", "its layout is [2, 4, 16, 64] torch.float16, not [2, 2, 16, 64] torch.float16"),
        ("other type", "its layout is [2, 2, 16, 64] torch.float32, not [2, 2, 16, 64] torch.float16"),
        ("other format", "its memory format is KV_MLA_FMT, not KV_2LTD"),
        ("truncated", "its payload is shorter than its header says, or was not read in time"),
        ("no header", "its header cannot be read, or it was not read in time; LMCache's log says more"),
        ("unknown type", "its header cannot be read, or it was not read in time; LMCache's log says more"),
    ],
)
def test_a_bad_file_fails_alone_and_says_why(facts: dict[str, Any], case: str, reason: str) -> None:
    assert facts["bad"]["reasons"][case] == reason


def test_a_bad_file_costs_no_memory_and_no_other_chunk(facts: dict[str, Any]) -> None:
    bad = facts["bad"]
    assert (bad["answer"]["loaded_chunks"], bad["answer"]["failed_chunks"]) == (1, 13)
    assert bad["answer"]["skipped_reasons"] == {"another worker's": 1}
    assert (bad["kept"], bad["more"], bad["alive"]) == (True, [1, 4096], True)


def test_chunks_of_another_engine_are_told_by_their_names(facts: dict[str, Any]) -> None:
    reasons = facts["bad"]["answer"]["failed_reasons"]
    assert reasons["other@1@0@1@half"] == "it is of the model 'other', not 'model'"
    assert reasons["model@2@0@1@half"] == "it is of an engine of 2 workers, not 1"
    assert reasons["model@1@0@1@float"] == "its elements are torch.float32, not torch.float16"
    assert reasons["garbage"] == "its name is no chunk key"


def test_a_pipe_is_no_chunk_and_nobody_waits_for_its_writer(facts: dict[str, Any]) -> None:
    assert facts["bad"]["answer"]["failed_reasons"]["model@1@0@aa@half"] == "it is no regular file"


def test_no_more_is_loaded_than_memory_holds(facts: dict[str, Any]) -> None:
    small = facts["full"]["small"]
    assert (small["loaded_chunks"], small["held"], small["evicted_chunks"]) == (10, 10, 0)
    assert (small["skipped_reasons"], small["alive"]) == ({FULL: 30}, True)


def test_memory_that_requests_hold_is_not_waited_for_without_an_end(facts: dict[str, Any]) -> None:
    used = facts["full"]["in use"]
    assert (used["loaded_chunks"], used["alive"]) == (0, True)
    assert used["skipped_reasons"] == {"all memory is in use by requests": 40}
    assert facts["full"]["free again"]["loaded_chunks"] == 10


def test_memory_that_is_made_anew_meanwhile_ends_the_load(facts: dict[str, Any]) -> None:
    assert facts["full"]["made anew"] == [
        ["loaded", ""],
        ["full", "the engine's memory was made anew, or closed, meanwhile"],
    ]


def test_a_store_may_be_a_file_url_or_without_headers(facts: dict[str, Any]) -> None:
    assert facts["other"] == {"file": 40, "without host and port": True, "without headers": 40}


@pytest.mark.parametrize(("saved", "workers"), [("first rank", 1), ("each rank", 2)])
def test_a_worker_of_an_mla_model_keeps_worker_0s_chunks_as_its_own(
    facts: dict[str, Any], saved: str, workers: int
) -> None:
    shared = facts["shared"][saved]
    assert shared["results"][f"model@{workers}@0@a@half"] == ["loaded", ""]
    assert shared["kept"] == [f"model@{workers}@1@a@half"]
