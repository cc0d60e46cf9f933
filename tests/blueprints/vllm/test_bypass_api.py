"""GET /bypass/list, PUT /bypass/add and /bypass/remove."""

from urllib.parse import quote

import pytest

CPU, DISK = "LocalCPUBackend", "LocalDiskBackend"
ROUTES = [("GET", "/bypass/list"), ("PUT", "/bypass/add"), ("PUT", "/bypass/remove")]


@pytest.fixture
def worker(serve, tmp_path):
    """A worker with memory and disk."""
    return serve(local_disk=str(tmp_path / "disk"), max_local_disk_size=0.01)


def bypassed(running):
    return running.get("/bypass/list").json()["bypassed_backends"]


def test_a_backend_is_left_out_and_taken_in_again_in_the_words_of_the_contract(worker):
    steps = [
        ("GET", "/bypass/list", {"bypassed_backends": [], "all_backends": [CPU, DISK]}),
        ("PUT", f"/bypass/add?backend_name={DISK}", {"bypassed": True, "was_already_bypassed": False}),
        ("PUT", f"/bypass/add?backend_name={DISK}", {"bypassed": True, "was_already_bypassed": True}),
        ("GET", "/bypass/list", {"bypassed_backends": [DISK], "all_backends": [CPU, DISK]}),
        ("PUT", f"/bypass/remove?backend_name={DISK}", {"bypassed": False, "was_bypassed": True}),
        ("PUT", f"/bypass/remove?backend_name={DISK}", {"bypassed": False, "was_bypassed": False}),
    ]
    for method, path, said in steps:
        answer = worker.request(method, path)
        assert (answer.status, answer.type) == (200, "application/json")
        if method == "PUT":
            left = [DISK] if said["bypassed"] else []
            said = {"backend_name": DISK, **said, "bypassed_backends": left}
        assert list(answer.json().items()) == list({"status": "success", **said}.items())


def test_answers_are_compact(worker):
    assert worker.get("/bypass/list").text == (
        f'{{"status":"success","bypassed_backends":[],"all_backends":["{CPU}","{DISK}"]}}'
    )


def test_a_bypassed_backend_takes_no_part_in_store_and_retrieve(worker):
    worker.post("/cache/store?tokens_mock=0,32")
    worker.put(f"/bypass/add?backend_name={CPU}")
    worker.put(f"/bypass/add?backend_name={DISK}")
    assert worker.post("/cache/retrieve?tokens_mock=0,32").json()["num_retrieved"] == 0
    worker.put(f"/bypass/remove?backend_name={DISK}")
    assert worker.post("/cache/retrieve?tokens_mock=0,32").json()["num_retrieved"] == 32


def test_bypassed_backends_are_listed_in_order_of_their_names(worker):
    for name in (DISK, CPU):
        worker.put(f"/bypass/add?backend_name={name}")
    assert bypassed(worker) == [CPU, DISK]


@pytest.mark.parametrize("query", ["", "?backend_name=", "?backend_name=a&backend_name=", "?name=LocalCPUBackend"])
@pytest.mark.parametrize("verb", ["add", "remove"])
def test_without_a_name_it_is_400(worker, verb, query):
    answer = worker.put(f"/bypass/{verb}{query}")
    assert (answer.status, answer.text) == (
        400,
        '{"error":"Missing parameter","message":"backend_name is required"}',
    )
    assert bypassed(worker) == []


@pytest.mark.parametrize("name", ["nope", "localcpubackend", f" {CPU}", "a/b", "../x", "x\0y", "é'\"", "n" * 9000])
@pytest.mark.parametrize("verb", ["add", "remove"])
def test_unknown_name_is_400_with_what_there_is(worker, verb, name):
    answer = worker.put(f"/bypass/{verb}?backend_name={quote(name, safe='')}")
    assert answer.status == 400
    assert answer.json() == {
        "error": "Unknown backend",
        "message": f"Backend '{name}' not found. Available: ['{CPU}', '{DISK}']",
    }
    assert bypassed(worker) == []


def test_the_last_of_repeated_names_counts(worker):
    worker.put(f"/bypass/add?backend_name=nope&backend_name={DISK}")
    assert bypassed(worker) == [DISK]
    assert worker.put(f"/bypass/add?backend_name={CPU}&backend_name=nope").status == 400
    assert bypassed(worker) == [DISK]


def test_ten_thousand_names_are_refused_and_nothing_is_bypassed(worker):
    many = "&".join([f"backend_name={CPU}"] * 10_000)
    assert worker.put(f"/bypass/add?{many}").status in (400, 414, 422, 431)
    assert bypassed(worker) == []


def test_a_bypass_outlives_its_backend_and_holds_for_the_next_one_of_that_name(worker):
    worker.put(f"/bypass/add?backend_name={DISK}")
    worker.delete(f"/backends/{DISK}")
    assert worker.get("/bypass/list").json() == {
        "status": "success",
        "bypassed_backends": [DISK],
        "all_backends": [CPU],
    }
    for verb in ("add", "remove"):
        refused = worker.put(f"/bypass/{verb}?backend_name={DISK}")
        assert (refused.status, refused.json()["error"]) == (400, "Unknown backend")
    worker.post("/backends")
    assert bypassed(worker) == [DISK]
    worker.put(f"/bypass/remove?backend_name={DISK}")
    assert bypassed(worker) == []


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_an_engine_it_is_503_before_the_name_is_read(serve, method, path):
    answer = serve(role="scheduler").request(method, path)
    assert (answer.status, answer.text) == (
        503,
        '{"error":"Bypass API is unavailable","message":"LMCache engine not configured."}',
    )


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_a_storage_manager_it_is_503_and_says_so(service, method, path):
    engine = service.manager.lmcache_engine
    storage, engine.storage_manager = engine.storage_manager, None
    answer = service.request(method, path)
    engine.storage_manager = storage
    assert (answer.status, answer.text) == (
        503,
        '{"error":"Bypass API is unavailable","message":"StorageManager not initialized."}',
    )


class Storage:
    """A storage manager whose methods do what the test says."""

    def __init__(self, act):
        self._act = act

    def get_all_backend_names(self):
        return [CPU]

    def get_bypassed_backends(self):
        return self._act()

    def is_backend_bypassed(self, name):
        return self._act()

    def set_backend_bypass(self, name, bypassed):
        raise AssertionError("nothing may be set when the state is not known")




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


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [
        ("GET", "/bypass/list", "list bypassed backends"),
        ("PUT", f"/bypass/add?backend_name={CPU}", "add bypass backend"),
        ("PUT", f"/bypass/remove?backend_name={CPU}", "remove bypass backend"),
    ],
)
class TestHostThatFails:
    def test_an_exception_is_500_in_the_words_of_the_contract(self, stand_in, method, path, operation):
        def boom():
            raise OSError("the pool is gone")

        answer = stand_in(Storage(boom)).request(method, path)
        assert (answer.status, answer.text) == (
            500,
            f'{{"error":"Failed to {operation}","message":"the pool is gone"}}',
        )

    @pytest.mark.parametrize("junk", [None, 5, "text", b"bytes", [1], {1: 2}])
    def test_junk_is_502_that_says_what_was_expected(self, stand_in, method, path, operation, junk):
        answer = stand_in(Storage(lambda: junk)).request(method, path)
        assert (answer.status, answer.json()["error"]) == (502, f"Failed to {operation}")
        assert f"answered a {type(junk).__name__}, expected" in answer.json()["message"]

    def test_what_the_host_does_not_offer_is_501(self, stand_in, method, path, operation):
        answer = stand_in(Bare()).request(method, path)
        assert (answer.status, answer.json()["error"]) == (501, f"Failed to {operation}")


class Bare:
    """A storage manager that offers nothing."""


@pytest.mark.parametrize("verb", ["add", "remove"])
def test_a_missing_name_is_400_before_the_host_is_asked(stand_in, verb):
    assert stand_in(Bare()).put(f"/bypass/{verb}").status == 400


@pytest.mark.parametrize(("method", "verb"), [("POST", "add"), ("GET", "remove"), ("PUT", "list")])
def test_other_methods_are_405(service, method, verb):
    assert service.request(method, f"/bypass/{verb}").status == 405
