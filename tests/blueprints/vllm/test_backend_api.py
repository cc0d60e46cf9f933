"""GET and POST /backends, DELETE /backends/{name}, POST /backends/{name}/recreate."""

from urllib.parse import quote

import pytest

CPU, DISK = "LocalCPUBackend", "LocalDiskBackend"
CHANGES = [("POST", "/backends"), ("DELETE", f"/backends/{DISK}"), ("POST", f"/backends/{DISK}/recreate")]
BOTH = {CPU: CPU, DISK: DISK}


@pytest.fixture
def worker(serve, tmp_path):
    """A worker with memory and disk."""
    return serve(local_disk=str(tmp_path / "disk"), max_local_disk_size=0.01)


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
    for method, path in CHANGES:
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
