"""/jobs: long work with `Prefer: respond-async`; progress, cancel, results, and what happens when one hangs."""

import threading
from types import SimpleNamespace

import pytest

ASYNC = {"Prefer": "respond-async"}


class Slow:
    """An engine whose clear reports each chunk and waits for leave to go on."""

    storage_manager = SimpleNamespace(chunk_count=lambda locations: 10)

    def __init__(self) -> None:
        self.step = threading.Semaphore(0)
        self.calls = 0
        self.fault: BaseException | None = None

    def clear(self, *, locations, request_configs, on_removed):
        self.calls += 1
        for _ in range(10):
            self.step.acquire()
            on_removed(1)
        if self.fault is not None:
            raise self.fault
        return 160

    def finish(self) -> None:
        for _ in range(1000):
            self.step.release()


@pytest.fixture
def slow(serve):
    """A server over an engine that clears ten chunks, each when `engine.step` is released."""
    engines = []

    def start(**extra):
        engine = Slow()
        engines.append(engine)
        return serve(_manager(engine, start.config, extra)), engine

    start.config = serve(role="scheduler").manager.config
    yield start
    for engine in engines:
        engine.finish()


def _manager(engine, config, extra):
    values = dict(config.extra_config or {})
    values.update({f"internal_api_server_{name}": value for name, value in extra.items()})
    own = SimpleNamespace(**{**vars(config), "extra_config": values})
    own.get_extra_config_value = lambda key, default=None: values.get(key, default)
    engine.config, engine.metadata = own, SimpleNamespace(worker_id=0)
    return SimpleNamespace(config=own, lmcache_engine=engine, lmcache_engine_metadata=SimpleNamespace(role="worker"))


def begin(running):
    answer = running.request("DELETE", "/cache/clear", headers=ASYNC)
    assert answer.status == 202
    return answer.headers["Location"]


def job(running, place):
    return running.get(place).json()


def test_clear_as_a_job_answers_202_and_its_result_is_what_the_request_would_have_got(service, eventually):
    service.post("/cache/store?tokens_mock=0,32")
    answer = service.request("DELETE", "/cache/clear", headers=ASYNC)
    place = answer.headers["Location"]
    assert (answer.status, answer.headers["Preference-Applied"]) == (202, "respond-async")
    assert place == f"/jobs/{answer.json()['id']}"
    eventually(lambda: job(service, place)["state"] == "done")
    ended = job(service, place)
    assert ended["result"] == {"status": "success", "num_removed": 32}
    assert (ended["status"], ended["route"], ended["operation"]) == (200, "DELETE /cache/clear", "clear cache")
    assert (ended["progress"]["done"], ended["progress"]["of"], ended["progress"]["unit"]) == (2, 2, "chunks")
    for _ in range(3):
        result = service.get(f"{place}/result")
        assert (result.status, result.type) == (200, "application/json")
        assert result.text == '{\n  "status": "success",\n  "num_removed": 32\n}'
    assert service.post("/cache/retrieve?tokens_mock=0,32").json()["num_retrieved"] == 0


@pytest.mark.parametrize(
    ("preference", "status"),
    [("respond-async", 202), ("wait=5, Respond-Async", 202), ("respond-async; x=1", 202), ("return=minimal", 200)],
)
def test_preference_is_read_as_rfc_7240_has_it(service, preference, status):
    assert service.request("DELETE", "/cache/clear", headers={"Prefer": preference}).status == status


def test_without_the_preference_the_job_is_listed_all_the_same(service):
    assert service.delete("/cache/clear").status == 200
    jobs = service.get("/jobs").json()
    assert jobs["total"] == 1
    assert (jobs["jobs"][0]["state"], jobs["jobs"][0]["status"]) == ("done", 200)


def test_bad_input_is_refused_before_a_job_begins(service):
    headers = {**ASYNC, "Content-Type": "application/json"}
    assert service.request("DELETE", "/cache/clear", "[]", headers).status == 422
    assert service.get("/jobs").json()["total"] == 0


def test_absent_engine_is_503_at_once_and_no_job(serve):
    running = serve(role="scheduler")
    assert running.request("DELETE", "/cache/clear", headers=ASYNC).status == 503
    assert running.get("/jobs").json()["total"] == 0


def test_progress_shows_how_far_how_fast_and_how_long_still(slow, eventually):
    running, engine = slow()
    place = begin(running)
    for _ in range(4):
        engine.step.release()
    eventually(lambda: job(running, place)["progress"]["done"] == 4)
    now = job(running, place)
    assert (now["state"], now["progress"]["of"], now["result"], now["ended"]) == ("running", 10, None, None)
    assert now["progress"]["rate_per_second"] > 0
    assert now["progress"]["remaining_seconds"] > 0
    assert running.get(f"{place}/result").status == 409
    engine.finish()
    eventually(lambda: job(running, place)["state"] == "done")
    assert job(running, place)["progress"]["remaining_seconds"] is None


def test_cancel_ends_it_at_the_next_safe_point_and_the_waiting_request_is_409(slow, eventually):
    running, engine = slow()
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(running.delete("/cache/clear")))
    waiting.start()
    eventually(lambda: running.get("/jobs?state=running").json()["total"] == 1)
    place = f"/jobs/{running.get('/jobs').json()['jobs'][0]['id']}"
    for _ in range(3):
        engine.step.release()
    eventually(lambda: job(running, place)["progress"]["done"] == 3)
    assert running.post(f"{place}/cancel").json()["cancel_requested"] is True
    assert job(running, place)["state"] == "running"
    engine.step.release()
    waiting.join()
    assert answers[0].status == 409
    assert answers[0].json() == {"error": "Failed to clear cache", "message": "cancelled after 4 of 10 chunks"}
    eventually(lambda: job(running, place)["state"] == "cancelled")
    again = running.post(f"{place}/cancel")
    assert (again.status, again.json()["error"]) == (409, "Not cancelled")


def test_waiting_job_is_cancelled_without_being_begun(slow, eventually):
    running, engine = slow()
    first, second, third = begin(running), begin(running), begin(running)
    assert job(running, third)["state"] == "queued"
    running.post(f"{third}/cancel")
    eventually(lambda: job(running, third)["state"] == "cancelled")
    engine.finish()
    for place in (first, second):
        eventually(lambda place=place: job(running, place)["state"] == "done")
    assert engine.calls == 2


def test_s47_one_route_holds_half_of_the_threads_and_places_then_it_is_503(slow, eventually):
    running, engine = slow(lane_queues={"job": 4})
    places = [begin(running) for _ in range(4)]
    states = [job(running, place)["state"] for place in places]
    assert states == ["running", "running", "queued", "queued"]
    refused = running.request("DELETE", "/cache/clear", headers=ASYNC)
    assert (refused.status, refused.headers["Retry-After"]) == (503, "30")
    assert "2 jobs of DELETE /cache/clear run and 2 wait" in refused.json()["message"]
    engine.finish()
    for place in places:
        eventually(lambda place=place: job(running, place)["state"] == "done")


def test_s47_past_the_deadline_the_request_is_504_with_the_job_which_goes_on(slow, eventually):
    running, engine = slow(deadlines={"job": 0.2})
    late = running.delete("/cache/clear")
    assert (late.status, late.json()["error"]) == (504, "Timed out: clear cache")
    place = late.headers["Location"]
    assert place == f"/jobs/{late.json()['job']}"
    assert job(running, place)["state"] == "running"
    engine.finish()
    eventually(lambda: job(running, place)["state"] == "done")
    assert job(running, place)["result"] == {"status": "success", "num_removed": 160}


def test_s47_route_whose_jobs_all_hang_is_refused_at_once_and_recovers(slow, eventually):
    running, engine = slow(deadlines={"job": 0.1})
    places = [begin(running), begin(running)]

    def refused():
        return running.request("DELETE", "/cache/clear", headers=ASYNC).json().get("message", "")

    eventually(lambda: "2 jobs of DELETE /cache/clear have not ended within 0.1 s" in refused())
    engine.finish()
    for place in places:
        eventually(lambda place=place: job(running, place)["state"] == "done")
    eventually(lambda: running.request("DELETE", "/cache/clear", headers=ASYNC).status == 202)


@pytest.mark.parametrize("fault", [RuntimeError("the disk is gone"), SystemExit(3)])
def test_failed_job_keeps_the_error_and_the_process_lives(slow, eventually, fault):
    running, engine = slow()
    engine.fault = fault
    place = begin(running)
    engine.finish()
    eventually(lambda: job(running, place)["state"] == "failed")
    ended = job(running, place)
    assert (ended["status"], ended["result"]["error"]) == (500, "Failed to clear cache")
    assert str(fault) in ended["result"]["message"] or "SystemExit" in ended["result"]["message"]
    assert running.get("/healthz").status == 200


def test_audit_has_the_outcome_of_the_job_not_of_the_202(slow, eventually):
    running, engine = slow()
    engine.fault = RuntimeError("no")
    place = begin(running)
    assert running.get("/audit").json()["entries"][0]["outcome"] == "intended"
    engine.finish()
    eventually(lambda: job(running, place)["state"] == "failed")
    entry = eventually(lambda: concluded(running))
    assert (entry["outcome"], entry["status"], entry["route"]) == ("failed", 500, "/cache/clear")


def concluded(running):
    return next((entry for entry in running.get("/audit").json()["entries"] if entry["outcome"] != "intended"), None)


def test_job_begins_at_once_while_requests_that_wait_hold_every_thread_of_the_lane(slow, eventually):
    running, engine = slow()
    waiting = [threading.Thread(target=running.delete, args=("/cache/clear",)) for _ in range(4)]
    for thread in waiting:
        thread.start()
    eventually(lambda: running.server.server.lanes.counters()["job"].busy == 2)
    place = begin(running)
    assert job(running, place)["state"] == "queued"
    engine.finish()
    for thread in waiting:
        thread.join()
    eventually(lambda: job(running, place)["state"] == "done")


def test_list_is_newest_first_and_paged(service):
    ids = []
    for _ in range(5):
        service.delete("/cache/clear")
        ids.insert(0, service.get("/jobs?limit=1").json()["jobs"][0]["id"])
    assert len(set(ids)) == 5
    seen, place = [], "/jobs?limit=2"
    while place:
        page = service.get(place).json()
        assert page["total"] == 5
        seen += [entry["id"] for entry in page["jobs"]]
        place = page["next"]
    assert seen == ids
    assert service.get("/jobs?state=running").json()["jobs"] == []


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "offset=-1", "state=asleep", "limit=x"])
def test_bad_page_is_422(service, query):
    assert service.get(f"/jobs?{query}").status == 422


@pytest.mark.parametrize("path", ["/jobs/nope", "/jobs/nope/result"])
def test_unknown_job_is_404_that_says_so(service, path):
    answer = service.get(path)
    assert (answer.status, answer.json()["error"]) == (404, "No such job")
    assert service.post("/jobs/nope/cancel").status == 404


def test_stop_cancels_what_runs_and_the_waiting_request_is_answered(slow, eventually):
    running, engine = slow()
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(running.delete("/cache/clear")))
    waiting.start()
    eventually(lambda: engine.calls == 1)
    stopping = threading.Thread(target=running.server.stop)
    stopping.start()
    eventually(lambda: running.server.service.jobs.newest()[0].cancel_asked)
    engine.step.release()
    stopping.join()
    waiting.join()
    assert answers[0].status == 409


def test_metrics_count_jobs_that_have_not_ended(slow, eventually):
    running, _ = slow(deadlines={"job": 0.1})
    for _ in range(3):
        begin(running)

    def shown():
        lines = running.get("/metrics").text.splitlines()
        found = {line.split('"')[3]: line for line in lines if "lmcache_admin_jobs{" in line}
        return {state: float(line.rpartition(" ")[2]) for state, line in found.items()}

    eventually(lambda: shown() == {"queued": 1, "running": 2, "late": 2})
