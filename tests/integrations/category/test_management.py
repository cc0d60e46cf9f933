"""What manages a worker: settings, metadata, backends, KV caches, lookup, statistics, and long work as jobs."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import md5
from typing import Any

import pytest

CPU, DISK, REMOTE = "LocalCPUBackend", "LocalDiskBackend", "RemoteBackend"
#: Names of the contract, in the order of /meta.
METADATA = [
    *("chunk_size", "engine_id", "first_rank", "kv_connector_extra_config", "kv_dtype", "kv_layer_groups_manager"),
    *("kv_shape", "local_worker_id", "local_world_size", "model_name", "role", "served_model_name", "use_mla"),
    *("worker_id", "world_size"),
]
Tokens = Callable[[int], str]
Eventually = Callable[..., Any]


def test_the_version_is_the_parts_joined(host: Any) -> None:
    parts = [host.value("GET", path) for path in ("/lmc_version", "/commit_id")]
    assert host.value("GET", "/version") == "-".join(parts)


def test_inference_info_is_an_object(host: Any) -> None:
    assert isinstance(host.value("GET", "/inference_info?format=text"), dict)


def test_metadata_has_the_names_of_the_contract(host: Any) -> None:
    found = host.value("GET", "/meta")
    assert list(found) == METADATA
    assert (found["role"], found["worker_id"], found["kv_dtype"]) == ("worker", 0, "torch.float16")
    assert host.value("GET", "/meta?names=worker_id,nope,__class__,role") == {"worker_id": 0, "role": "worker"}
    assert host.ask("GET", "/meta").type == "text/plain; charset=utf-8"


def test_settings_are_read_in_the_order_of_their_definition_or_as_asked(host: Any) -> None:
    answer = host.ask("GET", "/conf")
    assert answer.type == "text/plain; charset=utf-8"
    assert list(answer.json())[:3] == ["chunk_size", "local_cpu", "max_local_cpu_size"]
    assert host.value("GET", "/conf?names=local_cpu,chunk_size,nope") == {"local_cpu": True, "chunk_size": 16}
    assert b'"pd_allocation_timeout_sec": Infinity' in answer.body


def test_settings_are_set_one_by_one(host: Any) -> None:
    answer = host.ask("POST", "/conf", {"min_retrieve_tokens": "7", "nope": 1, "blocking_timeout_secs": "x"})
    assert answer.status == 200
    assert answer.json() == {
        "updated": {"min_retrieve_tokens": 7},
        "errors": {"nope": "Unknown config", "blocking_timeout_secs": "Failed to set config value"},
    }
    assert host.value("GET", "/conf?names=min_retrieve_tokens") == {"min_retrieve_tokens": 7}
    assert host.value("POST", "/conf", {"min_retrieve_tokens": 0}) == {"updated": {"min_retrieve_tokens": 0}}
    assert host.ask("POST", "/conf", {"nope": 1}).status == 400
    assert host.ask("POST", "/conf", [1]).json() == {"error": "Request body must be a JSON object"}


@pytest.mark.parametrize("body", [b'{"min_retrieve_tokens": NaN}', b'{"blocking_timeout_secs": 1e999}'])
def test_a_number_that_json_does_not_have_is_never_stored(our_host: Any, body: bytes) -> None:
    before = our_host.ask("GET", "/conf").body
    answer = our_host.process.request("POST", "/conf", body, {"Content-Type": "application/json"})
    assert answer.status == 400
    assert our_host.ask("GET", "/conf").body == before


def test_settings_of_this_service_and_paths_are_never_set(our_host: Any) -> None:
    refused = dict.fromkeys(["run_script_api_enabled", "script_allowed_imports", "local_disk", "remote_url"], "x")
    answer = our_host.ask("POST", "/conf", refused)
    assert (answer.status, answer.json()["updated"]) == (400, {})
    assert set(answer.json()["errors"]) == set(refused)


def test_backends_are_listed_in_search_order(host: Any) -> None:
    assert list(host.value("GET", "/backends").items()) == [(CPU, CPU), (DISK, DISK), (REMOTE, REMOTE)]
    assert host.value("POST", "/backends")["created"] == {}


def test_a_backend_that_is_not_there_is_404(host: Any) -> None:
    for method, path in (("DELETE", "/backends/Nobody"), ("POST", "/backends/Nobody/recreate")):
        answer = host.ask(method, path)
        assert (answer.status, answer.json()["status"]) == (404, "not_found")
        assert list(answer.json()["backends"]) == [CPU, DISK, REMOTE]


def test_a_backend_is_closed_and_comes_back(host: Any) -> None:
    closed = host.value("DELETE", f"/backends/{DISK}")
    assert closed["message"] == f"Backend {DISK} closed"
    assert set(closed["backends"]) == {CPU, REMOTE}
    assert host.ask("DELETE", f"/backends/{DISK}").status == 404
    assert host.value("POST", "/backends")["created"] == {DISK: DISK}
    assert host.value("POST", f"/backends/{DISK}/recreate")["recreated"] == {DISK: DISK}
    assert set(host.value("GET", "/backends")) == {CPU, DISK, REMOTE}


@pytest.mark.parametrize("name", [DISK, REMOTE])
def test_a_backend_keeps_its_place_and_redis_its_data(
    our_host: Any, tokens: Tokens, eventually: Eventually, name: str
) -> None:
    # LMCache's own server hangs for good when a backend on Redis is closed, and puts what is new at the end
    some = tokens(32)
    our_host.store(some)
    for step in (("DELETE", f"/backends/{name}"), ("POST", "/backends"), ("POST", f"/backends/{name}/recreate")):
        our_host.value(*step)
    assert list(our_host.value("GET", "/backends")) == [CPU, DISK, REMOTE]
    our_host.value("PUT", f"/bypass/add?backend_name={DISK}")

    def found() -> bool:
        our_host.clear_memory()
        return bool(our_host.found(some) == 32)

    eventually(found, "the chunks in Redis")


def test_the_backend_of_the_memory_stays(our_host: Any, tokens: Tokens) -> None:
    some = tokens(32)
    our_host.store(some)
    answer = our_host.ask("DELETE", f"/backends/{CPU}")
    assert (answer.status, answer.json()["error"]) == (409, "Failed to close backend")
    assert our_host.found(some) == 32


def test_kv_caches_are_described(host: Any) -> None:
    found = host.value("GET", "/cache/kvcache/info")
    assert (found["status"], found["num_layers"]) == ("success", len(found["layers"]))
    first = found["layers"]["model.layers.0"]
    assert (len(first["shape"]), first["dtype"], first["device"]) == (5, "torch.float16", "cpu")


def test_a_digest_of_all_layers_is_that_of_their_digests(host: Any) -> None:
    path = "/cache/kvcache/check?slot_mapping=[0,9],3,5&chunk_size=5"
    layers = host.value("GET", f"{path}&layerwise=true")
    together = host.value("GET", path)
    assert (together["num_chunks"], together["slot_mapping_ranges"]) == (3, [[0, 9], 3, 5])
    names = sorted(layers["chunk_checksums"])
    texts = ["".join(layers["chunk_checksums"][name][i] for name in names) for i in range(3)]
    assert together["chunk_checksums"] == [md5(text.encode(), usedforsecurity=False).hexdigest() for text in texts]


@pytest.mark.parametrize("slots", ["", "a", "[3,1]", "[1,2", "1]", "[[1,2]]", "99999", "-1"])
def test_bad_slots_are_400(host: Any, slots: str) -> None:
    answer = host.ask("GET", f"/cache/kvcache/check?slot_mapping={slots}&chunk_size=2")
    assert answer.status == 400
    assert set(answer.json()) == {"error", "message"}


def test_slots_are_recorded_when_asked_for(host: Any) -> None:
    queries = ("", "?enabled=true", "", "?enabled=False")
    states = [host.value("POST", f"/cache/kvcache/record_slot{query}") for query in queries]
    assert [state["kvcache_check_log_enabled"] for state in states] == [False, True, True, False]
    assert host.ask("POST", "/cache/kvcache/record_slot?enabled=1").status == 400


def test_a_worker_keeps_no_statistics(host: Any) -> None:
    for method, action in (("GET", "status"), ("POST", "start"), ("POST", "stop"), ("POST", "reset")):
        answer = host.ask(method, f"/chunk_statistics/{action}")
        assert answer.status == 503
        assert answer.json() == {"error": "API unavailable", "message": "Lookup client not configured."}


def test_long_work_is_a_job_where_that_is_preferred(our_host: Any, tokens: Tokens, eventually: Eventually) -> None:
    our_host.clear_memory()
    our_host.store(tokens(32))
    removed = 0

    def all_removed() -> bool:  # LMCache passes over chunks that are still on their way to the disk
        nonlocal removed
        answer = our_host.ask("DELETE", f"/cache/clear?locations={CPU}", Prefer="respond-async")
        assert answer.status == 202
        assert answer.location.startswith("/jobs/")
        job = eventually(lambda: ended(answer.location), "the job")
        assert job["state"] == "done", json.dumps(job)
        removed += job["result"]["num_removed"]
        return removed >= 32

    def ended(place: str) -> Any:
        job = our_host.value("GET", place)
        return job if job["state"] in ("done", "failed", "cancelled") else None

    eventually(all_removed, "the clear")
    assert removed == 32
