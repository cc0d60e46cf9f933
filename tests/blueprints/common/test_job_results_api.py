"""/jobs: what is kept of a job that has ended, how long, and what not."""

import gc
import weakref
from types import SimpleNamespace

import numpy as np

from lmcache_admin import job_runner


def begin(running):
    answer = running.request("DELETE", "/cache/clear", headers={"Prefer": "respond-async"})
    assert answer.status == 202
    return answer.headers["Location"]


def job(running, place):
    return running.get(place).json()


def test_result_of_a_request_that_waited_went_with_its_answer(service):
    service.delete("/cache/clear")
    (ended,) = service.get("/jobs").json()["jobs"]
    gone = service.get(f"/jobs/{ended['id']}/result")
    assert (ended["status"], gone.status) == (200, 410)
    assert "has it" in gone.json()["message"]


def test_results_that_somebody_waits_for_outlive_any_number_of_others(service, eventually, monkeypatch):
    monkeypatch.setattr(job_runner, "SHOWN_JOBS", 3)
    place = begin(service)
    eventually(lambda: job(service, place)["state"] == "done")
    for _ in range(10):
        service.delete("/cache/clear")
    assert service.get("/jobs").json()["total"] == 4
    assert job(service, place)["result"] == {"status": "success", "num_removed": 0}


def test_result_is_kept_as_long_as_was_said_and_then_forgotten(service, eventually, monkeypatch):
    place = begin(service)
    eventually(lambda: job(service, place)["state"] == "done")
    assert job_runner.KEPT_SECONDS == 3600
    monkeypatch.setattr(job_runner, "KEPT_SECONDS", 0.0)
    assert service.get(place).status == 404


def test_results_beyond_the_bytes_go_and_the_jobs_stay(service, eventually, monkeypatch):
    monkeypatch.setattr(job_runner, "KEPT_BYTES", 60)  # one answer has 46
    places = [begin(service) for _ in range(3)]
    for place in places:
        eventually(lambda place=place: job(service, place)["state"] == "done")
    first, _, last = (job(service, place) for place in places)
    assert (first["status"], first["result"]) == (200, None)
    assert last["result"] == {"status": "success", "num_removed": 0}
    assert service.get(f"{places[0]}/result").status == 410


def test_job_that_has_ended_holds_nothing_of_the_host(serve, eventually):
    layer = np.zeros((2, 4, 8, 2, 4), np.float16)
    config = serve(role="scheduler").manager.config
    facts = SimpleNamespace(role="worker", kv_dtype="torch.float16")
    manager = SimpleNamespace(
        config=config, lmcache_engine=None, lmcache_engine_metadata=facts, kv_caches={"layer": layer}
    )
    config.internal_api_server_port_start += 1  # beside the scheduler
    running = serve(manager)
    held = weakref.ref(layer)
    assert running.get("/cache/kvcache/check?slot_mapping=[0,7]&chunk_size=4").status == 200
    manager.kv_caches.clear()
    del layer

    def freed():
        gc.collect()
        return held() is None

    eventually(freed)
    assert running.get("/jobs").json()["total"] == 1


def test_job_says_what_was_asked(service):
    service.delete("/cache/clear?locations=LocalCPUBackend")
    assert service.get("/jobs").json()["jobs"][0]["asked"] == "/cache/clear?locations=LocalCPUBackend"
