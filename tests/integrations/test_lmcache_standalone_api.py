"""The same requests to a real LMCache 0.5.6 with our server and to one with its own, in the same run.

Both must answer with the same status, content type and JSON. What differs on purpose stands in the test that meets it:
secrets are masked, errors carry `error` and `message` too, periodic threads tell whether they `died`, a redirect is
relative, a clear names the backends that it skipped, and a store before the engine is ready is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.lmcache

Eventually = Callable[..., Any]
CPU, DISK = "LocalCPUBackend", "LocalDiskBackend"
#: What the two engines do not have in common: they run side by side.
OWN_KEYS = {"internal_api_server_port_start", "local_disk", "lmcache_instance_id"}
FORM = "application/x-www-form-urlencoded"


def posted(pair: Any, path: str) -> Any:
    return pair.same("POST", path)


@pytest.mark.parametrize("path", ["/version", "/lmc_version", "/commit_id"])
def test_versions_are_those_of_lmcache(pair: Any, path: str) -> None:
    assert pair.same("GET", path) in ("0.5.6-g3e11e108", "0.5.6", "g3e11e108")


@pytest.mark.parametrize(
    "path",
    [
        "/meta",
        "/meta?names=model_name,worker_id,kv_dtype,nope",
        "/conf?names=chunk_size,local_cpu,nope",
        "/conf?names=pd_allocation_timeout_sec",
        "/conf?names=,,",
        "/inference_info",
        "/freeze/status",
        "/hot_cache/status",
        "/loglevel?logger_name=lmcache.v1.cache_engine",
        "/loglevel?logger_name=root",
        "/controller/key-stats",
        "/controller/workers",
        "/controller/workers?instance_id=a&worker_id=0",
        "/periodic-threads?level=nope",
        "/periodic-threads/nope",
        "/periodic-threads-health",
        "/threads?name=nobody",
        "/threads?thread_id=1",
        "/cache/clear?locations=nope",
    ],
)
def test_the_whole_answer_is_the_same(pair: Any, path: str) -> None:
    pair.same("DELETE" if path.startswith("/cache/clear") else "GET", path)


def test_the_configuration_has_the_same_keys_and_values(pair: Any) -> None:
    ours, theirs = (answer.json() for answer in pair.both("GET", "/conf"))
    assert list(ours) == list(theirs)
    assert {key: ours[key] for key in ours if key not in OWN_KEYS} == {
        key: theirs[key] for key in theirs if key not in OWN_KEYS
    }
    assert ours["chunk_size"] == 16


def test_a_key_can_be_set_and_reads_back(pair: Any) -> None:
    body = json.dumps({"min_retrieve_tokens": 7, "blocking_timeout_secs": "11"}).encode()
    answer = pair.same("POST", "/conf", body, Content_Type="application/json")
    assert answer == {"updated": {"min_retrieve_tokens": 7, "blocking_timeout_secs": 11}}
    read = pair.same("GET", "/conf?names=min_retrieve_tokens,blocking_timeout_secs")
    assert json.loads(read) == {"min_retrieve_tokens": 7, "blocking_timeout_secs": 11}
    back = json.dumps({"min_retrieve_tokens": 0, "blocking_timeout_secs": 10}).encode()
    pair.same("POST", "/conf", back, Content_Type="application/json")


@pytest.mark.parametrize("body", [b'{"nope": 1}', b"[]", b"{}"])
def test_a_body_that_sets_nothing_answers_the_same(pair: Any, body: bytes) -> None:
    pair.same("POST", "/conf", body, Content_Type="application/json")


def test_metrics_have_the_same_series_of_lmcache(pair: Any) -> None:
    posted(pair, "/cache/store?tokens_mock=1000,1040")
    ours, theirs = (answer.body.decode() for answer in pair.both("GET", "/metrics"))
    series = [
        {re.sub(r'="[^"]*"', "", line.rsplit(" ", 1)[0]) for line in text.splitlines() if line.startswith("lmcache:")}
        for text in (ours, theirs)
    ]
    assert series[0] == series[1]
    assert len(series[0]) > 20
    assert "lmcache_admin_request_seconds_count" in ours


def test_metrics_are_set_back(pair: Any) -> None:
    def stored() -> list[float]:
        answers = pair.both("GET", "/metrics")
        found = [re.search(rb"^lmcache:num_store_requests_total\{.*\} (\S+)$", a.body, re.MULTILINE) for a in answers]
        return [float(match[1]) for match in found if match]

    posted(pair, "/cache/store?tokens_mock=2000,2040")
    assert posted(pair, "/metrics/reset") == "ok"
    assert len(set(stored())) == 1


def test_a_store_keeps_whole_chunks_and_retrieve_finds_them(pair: Any) -> None:
    assert posted(pair, "/cache/store?tokens_mock=100,140") == {"status": "success", "num_tokens": 40}
    found = posted(pair, "/cache/retrieve?tokens_mock=100,140")
    assert found == {"status": "success", "num_tokens": 40, "num_retrieved": 32}


def test_tokens_that_nobody_stored_are_not_found(pair: Any) -> None:
    assert posted(pair, "/cache/retrieve?tokens_mock=900000,900040")["num_retrieved"] == 0


@pytest.mark.parametrize("tokens", ["", "7", "5,1", "a,b", "1,2,3", "1.5,4"])
def test_a_bad_token_range_is_refused_the_same(pair: Any, tokens: str) -> None:
    for action in ("store", "retrieve"):
        ours, _ = pair.both("POST", f"/cache/{action}?tokens_mock={tokens}")
        assert ours.status == 400


def test_clear_of_one_backend_leaves_the_other(pair: Any, eventually: Eventually) -> None:
    pair.same("DELETE", f"/cache/clear?locations={CPU}")
    posted(pair, "/cache/store?tokens_mock=300,340")
    for engine in (pair.ours, pair.theirs):  # LMCache writes to disk after it has answered
        eventually(lambda engine=engine: len(list(engine.disk.glob("*.pt"))) >= 2, "chunks on disk")
    assert pair.same("DELETE", f"/cache/clear?locations={CPU}") == {"status": "success", "num_removed": 32}

    def found() -> bool:
        return bool(posted(pair, "/cache/retrieve?tokens_mock=300,340")["num_retrieved"] == 32)

    eventually(found, "the disk's chunks")


def test_clear_of_unknown_backend_removes_nothing(pair: Any) -> None:
    posted(pair, "/cache/store?tokens_mock=400,440")
    assert pair.same("DELETE", "/cache/clear?locations=NoBackend") == {"status": "success", "num_removed": 0}
    assert posted(pair, "/cache/retrieve?tokens_mock=400,440")["num_retrieved"] == 32


def test_clear_with_a_body_hands_it_to_the_engine(pair: Any) -> None:
    body = json.dumps({"request_configs": {"lmcache.tag.user": "a"}}).encode()
    ours, theirs = pair.both("DELETE", f"/cache/clear?locations={DISK}", body, Content_Type="application/json")
    assert ours.json() == {**theirs.json(), "skipped_backends": [DISK]}  # LMCache cannot clear its disk


def test_the_hot_cache_is_switched(pair: Any) -> None:
    for action, hot in (("disable", False), ("enable", True)):
        assert pair.same("PUT", f"/hot_cache/{action}")["hot_cache"] is hot
        assert pair.same("GET", "/hot_cache/status")["hot_cache"] is hot


def test_a_frozen_engine_takes_nothing_in(pair: Any) -> None:
    assert pair.same("PUT", "/freeze/enable")["freeze"] is True
    try:
        assert pair.same("GET", "/freeze/status")["freeze"] is True
        posted(pair, "/cache/store?tokens_mock=500,540")
        assert posted(pair, "/cache/retrieve?tokens_mock=500,540")["num_retrieved"] == 0
    finally:
        assert pair.same("PUT", "/freeze/disable")["freeze"] is False


def test_periodic_threads_tell_the_same_and_whether_they_died(pair: Any) -> None:
    ours, theirs = (answer.json() for answer in pair.both("GET", "/periodic-threads"))
    assert ours["summary"] == theirs["summary"]
    for mine, other in zip(ours["threads"], theirs["threads"], strict=True):
        assert mine.pop("died") is False
        assert list(mine) == list(other)
        steady = ("name", "level", "interval", "is_running", "is_active", "success_rate")
        assert {key: mine[key] for key in steady} == {key: other[key] for key in steady}


@pytest.mark.parametrize("query", ["level=CRITICAL", "running_only=true", "active_only=1", "level=low&running_only=no"])
def test_periodic_threads_are_filtered_the_same(pair: Any, query: str) -> None:
    ours, theirs = (answer.json() for answer in pair.both("GET", f"/periodic-threads?{query}"))
    assert ours["summary"] == theirs["summary"]
    assert [t["name"] for t in ours["threads"]] == [t["name"] for t in theirs["threads"]]


def test_one_periodic_thread_is_found_by_name(pair: Any) -> None:
    ours, theirs = (answer.json() for answer in pair.both("GET", "/periodic-threads/PinMonitor-thread"))
    assert list(ours) == [*theirs, "died"]
    assert ours["name"] == "PinMonitor-thread"


def test_a_log_level_is_set_and_reads_back(pair: Any) -> None:
    name = "lmcache.v1.cache_engine"
    before = pair.same("GET", f"/loglevel?logger_name={name}")
    assert "DEBUG" in pair.same("GET", f"/loglevel?logger_name={name}&level=DEBUG")
    assert "DEBUG" in pair.same("GET", f"/loglevel?logger_name={name}")
    pair.same("GET", f"/loglevel?logger_name={name}&level={before.rsplit(' ', 1)[-1].strip()}")


def test_threads_name_those_of_the_engine(pair: Any) -> None:
    ours, theirs = (answer.body.decode() for answer in pair.both("GET", "/threads"))
    for name in ("MainThread", "storage-manager-event-loop", "api-server-thread"):
        assert name in ours
        assert name in theirs


def test_the_environment_is_the_same_but_for_secrets(pair: Any) -> None:
    ours, theirs = (answer.json() for answer in pair.both("GET", "/env"))
    assert list(ours) == list(theirs)
    assert theirs["STORE_PASSWORD"] != ours["STORE_PASSWORD"] == "******"
    assert ours["PYTHONHASHSEED"] == theirs["PYTHONHASHSEED"] == "0"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nope", 404),
        ("GET", "//conf", 404),
        ("GET", "/Conf", 404),
        ("GET", "/freeze/enable", 405),
        ("HEAD", "/version", 405),
        ("OPTIONS", "/conf", 405),
        ("GET", "/conf/", 307),
        ("PUT", "/freeze/enable/?a=1", 307),
        ("GET", "/threads?thread_id=x", 422),
        ("GET", "/periodic-threads?running_only=perhaps", 422),
        ("GET", "/controller/workers?worker_id=x", 422),
        ("GET", "/inference_version", 500),
    ],
)
def test_what_is_wrong_has_the_same_status(pair: Any, method: str, path: str, status: int) -> None:
    # bodies differ on purpose (error, message); a 404 and a 405 still carry LMCache's `detail`
    ours = pair.ours.request(method, path)
    theirs = pair.theirs.request(method, path)
    assert ours.status == theirs.status == status
    if status in (404, 405) and method != "HEAD":
        assert ours.json()["detail"] == theirs.json()["detail"]
    if status == 307:
        assert pair.both(method, path)[0].body == b""


def test_a_body_of_the_wrong_type_is_refused(pair: Any) -> None:
    ours, _ = pair.both("DELETE", "/cache/clear", b"a=1", Content_Type=FORM)
    assert ours.status == 422


def test_scripts_are_off(pair: Any) -> None:
    ours = pair.ours.request("POST", "/run_script", b"", {})
    theirs = pair.theirs.request("POST", "/run_script", b"", {})
    assert ours.status == theirs.status


def test_the_engine_is_ready_with_both_backends(pair: Any, eventually: Eventually) -> None:
    eventually(lambda: pair.ours.request("GET", "/readyz").json()["checks"], "the first probe")
    answer = pair.ours.request("GET", "/readyz")
    checks = {check["name"]: check["status"] for check in answer.json()["checks"]}
    assert (answer.status, answer.json()["status"]) == (200, "ok")
    assert checks == {"engine": "ok", "health_monitor": "skipped", CPU: "ok", DISK: "ok"}
