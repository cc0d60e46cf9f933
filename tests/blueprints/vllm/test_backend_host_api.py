"""/backends over other hosts than ours: what they lack, how they fail, and who else closes what is asked for."""

import threading

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
def stand_in(service):
    """Put a storage manager in the place of the engine's for the rest of the test."""
    engine = service.manager.lmcache_engine
    kept = engine.storage_manager

    def put(storage):
        engine.storage_manager = storage
        return service

    yield put
    engine.storage_manager = kept


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
