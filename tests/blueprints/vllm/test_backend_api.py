"""GET and POST /backends, DELETE /backends/{name}, POST /backends/{name}/recreate."""

import threading
from urllib.parse import quote

import pytest

CPU, DISK = "LocalCPUBackend", "LocalDiskBackend"
ROUTES = [
    ("GET", "/backends", "list backends"),
    ("POST", "/backends", "create backends"),
    ("DELETE", f"/backends/{DISK}", "close backend"),
    ("POST", f"/backends/{DISK}/recreate", "recreate backend"),
]
BOTH = {CPU: CPU, DISK: DISK}


@pytest.fixture
def worker(serve, tmp_path):
    """A worker with memory and disk."""
    return serve(local_disk=str(tmp_path / "disk"), max_local_disk_size=0.01)


@pytest.fixture
def stand_in(service):
    """Put a storage manager in the place of the engine's for the rest of the test."""
    engine = service.manager.lmcache_engine
    kept = engine.storage_manager

    def put(storage):
        engine.storage_manager = storage
        return service

    yield put
    engine.storage_manager = kept


def stored(running, start):
    """How many of 32 tokens are found after they were stored."""
    running.post(f"/cache/store?tokens_mock={start},{start + 32}")
    return running.post(f"/cache/retrieve?tokens_mock={start},{start + 32}").json()["num_retrieved"]


def test_backends_are_listed_in_search_order_with_their_classes(worker):
    answer = worker.get("/backends")
    assert (answer.status, answer.type) == (200, "application/json")
    assert answer.text == f'{{"{CPU}":"{CPU}","{DISK}":"{DISK}"}}'


def test_a_backend_is_closed_and_created_again_in_the_words_of_the_contract(worker):
    closed = worker.delete(f"/backends/{DISK}")
    assert (closed.status, closed.type) == (200, "application/json")
    assert closed.text == (
        f'{{"status":"success","message":"Backend {DISK} closed","backends":{{"{CPU}":"{CPU}"}}}}'
    )
    assert worker.get("/backends").json() == {CPU: CPU}
    created = worker.post("/backends")
    assert (created.status, created.json()) == (
        200,
        {"status": "success", "created": {DISK: DISK}, "backends": BOTH},
    )
    assert worker.post("/backends").json() == {"status": "success", "created": {}, "backends": BOTH}


def test_chunks_on_disk_are_found_again_when_the_backend_is_back(worker):
    worker.post("/cache/store?tokens_mock=0,32")
    worker.delete("/cache/clear?locations=LocalCPUBackend")
    worker.delete(f"/backends/{DISK}")
    assert worker.post("/cache/retrieve?tokens_mock=0,32").json()["num_retrieved"] == 0
    worker.post("/backends")
    assert worker.post("/cache/retrieve?tokens_mock=0,32").json()["num_retrieved"] == 32


@pytest.mark.parametrize("name", [CPU, DISK])
def test_a_backend_is_recreated_in_its_place_and_the_engine_goes_on(worker, name):
    answer = worker.post(f"/backends/{name}/recreate")
    assert (answer.status, answer.type) == (200, "application/json")
    assert answer.json() == {"status": "success", "recreated": {name: name}, "backends": BOTH}
    assert list(answer.json()["backends"]) == [CPU, DISK]
    assert stored(worker, 1000) == 32


def test_recreating_creates_other_missing_ones_too(worker):
    worker.delete(f"/backends/{DISK}")
    answer = worker.post(f"/backends/{CPU}/recreate")
    assert answer.json() == {"status": "success", "recreated": BOTH, "backends": BOTH}


def test_recreating_goes_on_as_a_job_when_that_is_preferred(worker, eventually):
    begun = worker.request("POST", f"/backends/{DISK}/recreate", headers={"Prefer": "respond-async"})
    assert begun.status == 202
    job = begun.headers["Location"]
    eventually(lambda: worker.get(job).json()["state"] == "done")
    assert worker.get("/backends").json() == BOTH


@pytest.mark.parametrize("name", ["Nope", "localcpubackend", "..", ".", "x\0y", "é", "a b", "n" * 9000])
@pytest.mark.parametrize(("method", "end"), [("DELETE", ""), ("POST", "/recreate")])
def test_unknown_name_is_404_with_what_there_is(worker, method, end, name):
    answer = worker.request(method, f"/backends/{quote(name, safe='')}{end}")
    assert (answer.status, answer.type) == (404, "application/json")
    assert answer.json() == {"status": "not_found", "message": f"Backend {name} not found", "backends": BOTH}
    assert worker.get("/backends").json() == BOTH


@pytest.mark.parametrize(("method", "end"), [("DELETE", ""), ("POST", "/recreate")])
def test_closed_backend_is_404_until_it_is_created(worker, method, end):
    worker.delete(f"/backends/{DISK}")
    answer = worker.request(method, f"/backends/{DISK}{end}")
    assert (answer.status, answer.json()["backends"]) == (404, {CPU: CPU})


@pytest.mark.parametrize("name", ["a/b", f"x%2F{DISK}", f"%2e%2e%2f{DISK}", "/x"])
def test_name_with_a_slash_is_no_route(worker, name):
    assert worker.delete(f"/backends/{name}").status == 404
    assert worker.get("/backends").json() == BOTH


@pytest.mark.parametrize(
    ("method", "path", "location"),
    [
        ("DELETE", "/backends/", "/backends"),
        ("DELETE", f"/backends/{DISK}/", f"/backends/{DISK}"),
        ("POST", f"/backends/{DISK}/recreate/?x=1", f"/backends/{DISK}/recreate?x=1"),
    ],
)
def test_a_slash_too_many_is_redirected_and_changes_nothing(worker, method, path, location):
    answer = worker.request(method, path)
    assert (answer.status, answer.headers["Location"], answer.body) == (307, location, b"")
    assert worker.get("/backends").json() == BOTH


@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", "/backends"), ("GET", f"/backends/{DISK}"), ("POST", f"/backends/{DISK}"), ("PUT", "/backends")],
)
def test_other_methods_are_405(worker, method, path):
    assert worker.request(method, path).status == 405
    assert worker.get("/backends").json() == BOTH


def test_a_body_is_ignored(worker):
    answer = worker.post("/backends?x=1&x=2", b"{broken")
    assert (answer.status, answer.json()["created"]) == (200, {})


def test_ten_thousand_parameters_are_refused_and_nothing_is_changed(worker):
    many = "a=&" * 10_000
    for method, path, _ in ROUTES[1:]:
        assert worker.request(method, f"{path}?{many}").status in (400, 414, 422, 431)
    assert worker.get("/backends").json() == BOTH


def test_the_allocator_is_not_closed_and_nothing_is_changed(worker):
    answer = worker.delete(f"/backends/{CPU}")
    assert (answer.status, answer.type) == (409, "application/json")
    assert answer.json()["error"] == "Failed to close backend"
    assert f"POST /backends/{CPU}/recreate" in answer.json()["message"]
    assert worker.get("/backends").json() == BOTH
    assert stored(worker, 0) == 32


def test_a_bypass_that_outlives_its_backend_is_told(worker):
    worker.put(f"/bypass/add?backend_name={DISK}")
    assert "bypassed" not in worker.post("/backends").json()
    assert worker.post(f"/backends/{DISK}/recreate").json()["bypassed"] == [DISK]
    assert worker.delete(f"/backends/{DISK}").json()["bypassed"] == [DISK]
    assert worker.post("/backends").json()["bypassed"] == [DISK]


def test_a_backend_that_cannot_be_made_leaves_the_old_one(worker, tmp_path):
    worker.manager.config.local_disk = str(tmp_path / "a file" / "disk")
    (tmp_path / "a file").write_text("in the way")
    answer = worker.post(f"/backends/{DISK}/recreate")
    assert (answer.status, answer.json()["error"]) == (500, "Failed to recreate backend")
    assert worker.get("/backends").json() == BOTH
    worker.delete(f"/backends/{DISK}")
    assert worker.post("/backends").json()["error"] == "Failed to create backends"
    assert worker.get("/backends").json() == {CPU: CPU}


@pytest.mark.parametrize(("method", "path", "_"), ROUTES)
@pytest.mark.parametrize("without", ["engine", "storage manager"])
def test_without_an_engine_or_a_storage_manager_it_is_503(serve, stand_in, method, path, _, without):
    running = serve(role="scheduler", internal_api_server_port_start=1) if without == "engine" else stand_in(None)
    answer = running.request(method, path)
    assert (answer.status, answer.text) == (
        503,
        '{"error":"/backends API is unavailable","message":"LMCache engine not configured."}',
    )


class Storage:
    """A storage manager as a stranger might write it: it has no allocator, and its disk does what the test says."""

    def __init__(self, act):
        self.present = {CPU: CPU, DISK: DISK}
        self._act = act

    def list_backends(self):
        return dict(self.present)

    def close_backend(self, name):
        return self._act(self, name)

    def create_backends(self):
        return self._act(self, None)

    def recreate_backend(self, name):
        return self._act(self, name)


def test_a_host_without_an_allocator_closes_what_it_is_asked_to(stand_in):
    running = stand_in(Storage(lambda storage, name: bool(storage.present.pop(name))))
    answer = running.delete(f"/backends/{CPU}")
    assert (answer.status, answer.json()["backends"]) == (200, {DISK: DISK})


def test_a_backend_that_is_gone_when_its_turn_comes_is_404(stand_in):
    running = stand_in(Storage(lambda storage, name: False))
    assert running.delete(f"/backends/{DISK}").json()["status"] == "not_found"


@pytest.mark.parametrize("word", [DISK, f"Backend {DISK} not found"])
@pytest.mark.parametrize("listed", [True, False])
def test_a_backend_that_another_request_has_closed_is_404_when_it_is_to_be_recreated(stand_in, word, listed):
    def unknown(storage, name):
        if not listed:
            del storage.present[name]
        raise KeyError(word)

    answer = stand_in(Storage(unknown)).post(f"/backends/{DISK}/recreate")
    present = BOTH if listed else {CPU: CPU}
    assert (answer.status, answer.json()) == (
        404,
        {"status": "not_found", "message": f"Backend {DISK} not found", "backends": present},
    )


def test_a_backend_that_was_closed_and_not_created_is_said_to_be_gone(stand_in):
    def close_only(storage, name):
        del storage.present[name]
        raise KeyError("bucket")

    answer = stand_in(Storage(close_only)).post(f"/backends/{DISK}/recreate")
    assert (answer.status, answer.json()) == (
        500,
        {
            "error": "Failed to recreate backend",
            "message": f"{DISK} is closed, and creating it failed: 'bucket'. POST /backends tries that again.",
        },
    )


@pytest.mark.parametrize(("method", "path", "operation"), ROUTES[1:])
class TestHostThatFails:
    def test_an_exception_is_500_in_the_words_of_the_contract(self, stand_in, method, path, operation):
        def boom(storage, name):
            raise OSError("the disk is gone")

        answer = stand_in(Storage(boom)).request(method, path)
        assert (answer.status, answer.text) == (
            500,
            f'{{"error":"Failed to {operation}","message":"the disk is gone"}}',
        )

    @pytest.mark.parametrize("junk", [None, 5, "text", b"bytes", [1], {"a": 1}, {1: "a"}])
    def test_junk_is_502_that_says_what_was_expected(self, stand_in, method, path, operation, junk):
        answer = stand_in(Storage(lambda storage, name: junk)).request(method, path)
        assert (answer.status, answer.json()["error"]) == (502, f"Failed to {operation}")
        assert f"answered a {type(junk).__name__}, expected" in answer.json()["message"]


@pytest.mark.parametrize(("method", "path", "operation"), ROUTES)
def test_what_the_host_does_not_offer_is_501(stand_in, method, path, operation):
    answer = stand_in(object.__new__(type("Bare", (), {}))).request(method, path)
    assert (answer.status, answer.json()["error"]) == (501, f"Failed to {operation}")


@pytest.mark.parametrize("junk", [None, 5, [CPU], {CPU: None}])
def test_a_list_that_is_none_is_502(stand_in, junk):
    storage = Storage(lambda storage, name: None)
    storage.list_backends = lambda: junk
    answer = stand_in(storage).get("/backends")
    assert (answer.status, answer.json()["error"]) == (502, "Failed to list backends")


def begin(running, name):
    """Begin recreating a backend; the job's address."""
    begun = running.request("POST", f"/backends/{name}/recreate", headers={"Prefer": "respond-async"})
    return begun.headers["Location"]


def test_a_job_that_is_cancelled_in_the_queue_closes_no_backend(stand_in, eventually):
    may_end = threading.Event()
    asked = []

    def slowly(storage, name):
        asked.append(name)
        assert may_end.wait(30)
        return {name: name}

    running = stand_in(Storage(slowly))
    first = [begin(running, CPU), begin(running, CPU)]
    queued = begin(running, DISK)
    assert running.get(queued).json()["state"] == "queued"
    running.post(f"{queued}/cancel")
    may_end.set()
    eventually(lambda: running.get(queued).json()["state"] == "cancelled")
    eventually(lambda: all(running.get(job).json()["state"] == "done" for job in first))
    assert asked == [CPU, CPU]


def test_a_job_that_is_cancelled_while_the_backends_are_listed_closes_none(stand_in, eventually):
    began, may_end = threading.Event(), threading.Event()
    asked = []
    storage = Storage(lambda storage, name: asked.append(name))

    def slowly():
        began.set()
        assert may_end.wait(30)
        return dict(storage.present)

    storage.list_backends = slowly
    running = stand_in(storage)
    job = begin(running, DISK)
    assert began.wait(30)
    running.post(f"{job}/cancel")
    may_end.set()
    eventually(lambda: running.get(job).json()["state"] == "cancelled")
    assert asked == []


def test_reads_go_on_while_a_backend_is_recreated(stand_in, eventually):
    began, may_end = threading.Event(), threading.Event()

    def slowly(storage, name):
        began.set()
        assert may_end.wait(30)
        return {name: name}

    running = stand_in(Storage(slowly))
    answers = []
    asking = threading.Thread(target=lambda: answers.append(running.post(f"/backends/{DISK}/recreate")))
    asking.start()
    assert began.wait(30)
    assert running.get("/backends").json() == BOTH
    assert running.put("/freeze/disable").status == 200
    may_end.set()
    asking.join()
    assert answers[0].json()["recreated"] == {DISK: DISK}
