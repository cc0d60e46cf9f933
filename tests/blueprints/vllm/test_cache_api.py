"""DELETE /cache/clear, POST /cache/store and /cache/retrieve."""

from types import SimpleNamespace

import pytest

MISSING = '{\n  "error": "Missing parameters",\n  "message": "Must specify either tokens_input or tokens_mock"\n}'
UNAVAILABLE = '{\n  "error": "LMCache API is unavailable",\n  "message": "LMCache engine not configured."\n}'


@pytest.fixture
def disk(serve, tmp_path):
    """A worker that keeps chunks in memory and on disk."""
    return serve(local_disk=f"file://{tmp_path / 'disk'}", max_local_disk_size=0.1)


def retrieved(running, tokens="0,64"):
    return running.post(f"/cache/retrieve?tokens_mock={tokens}").json()["num_retrieved"]


def test_stored_tokens_are_found_in_whole_chunks(service):
    stored = service.post("/cache/store?tokens_mock=0,40")
    assert (stored.status, stored.type) == (200, "application/json")
    assert stored.text.startswith('{\n  "status": "success",\n  "num_tokens": 40')
    answer = service.post("/cache/retrieve?tokens_mock=0,40")
    assert answer.text == '{\n  "status": "success",\n  "num_tokens": 40,\n  "num_retrieved": 32\n}'


def test_store_tells_how_many_tokens_were_kept(service):
    assert service.post("/cache/store?tokens_mock=0,40").json()["num_stored"] == 32
    service.put("/freeze/enable")
    assert service.post("/cache/store?tokens_mock=100,140").json()["num_stored"] == 0


def test_only_the_longest_stored_prefix_is_found(service):
    service.post("/cache/store?tokens_mock=0,32")
    assert retrieved(service, "0,64") == 32
    assert retrieved(service, "16,48") == 0
    assert retrieved(service, "1,33") == 0


@pytest.mark.parametrize(
    ("given", "count"),
    [("0,40", 40), ("%200%20,%2040", 40), ("-16,16", 32), ("%2B5,1_0", 5), ("0,1", 1), ("0,32&tokens_mock=0,48", 48)],
)
def test_range_is_read_as_python_reads_integers(service, given, count):
    answer = service.post(f"/cache/store?tokens_mock={given}")
    assert (answer.status, answer.json()["num_tokens"]) == (200, count)


@pytest.mark.parametrize("operation", ["store", "retrieve"])
@pytest.mark.parametrize("query", ["", "?tokens_mock=", "?tokens_mock=0,16&tokens_mock=", "?tokens=0,16"])
def test_without_a_range_it_is_400(service, operation, query):
    answer = service.post(f"/cache/{operation}{query}")
    assert (answer.status, answer.type, answer.text) == (400, "application/json", MISSING)


@pytest.mark.parametrize("operation", ["store", "retrieve"])
@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("5", "tokens_mock must contain exactly 2 numbers"),
        ("1,2,3", "tokens_mock must contain exactly 2 numbers"),
        (",", "invalid literal for int() with base 10: ''"),
        ("a,5", "invalid literal for int() with base 10: 'a'"),
        ("1.5,9", "invalid literal for int() with base 10: '1.5'"),
        ("9,9", "start must be less than end"),
        ("9,5", "start must be less than end"),
    ],
)
def test_bad_range_is_400_with_the_reason(service, operation, given, why):
    answer = service.post(f"/cache/{operation}?tokens_mock={given}")
    assert answer.status == 400
    assert answer.json() == {
        "error": "Invalid tokens_mock format",
        "message": f"tokens_mock must be 'start,end': {why}",
    }


@pytest.mark.parametrize("given", ["0,1000001", "0,100000000000", "0," + "9" * 400])
def test_s48_range_above_a_million_is_400_with_the_bound(service, given):
    answer = service.post(f"/cache/store?tokens_mock={given}")
    assert (answer.status, answer.json()["error"]) == (400, "Invalid tokens_mock format")
    assert "1000000" in answer.json()["message"]


def test_number_of_more_digits_than_python_reads_is_400(service):
    answer = service.post(f"/cache/store?tokens_mock=0,{'9' * 5000}")
    assert (answer.status, answer.json()["error"]) == (400, "Invalid tokens_mock format")


def test_clear_counts_tokens_and_removes_them(service):
    service.post("/cache/store?tokens_mock=0,64")
    answer = service.delete("/cache/clear")
    assert (answer.status, answer.type) == (200, "application/json")
    assert answer.text.startswith('{\n  "status": "success",\n  "num_removed": 64')
    assert retrieved(service) == 0
    assert service.delete("/cache/clear").json()["num_removed"] == 0


def test_clear_of_one_backend_leaves_the_other(disk):
    disk.post("/cache/store?tokens_mock=0,64")
    assert disk.delete("/cache/clear?locations=LocalCPUBackend").json()["num_removed"] == 64
    assert retrieved(disk) == 64
    assert disk.delete("/cache/clear?locations=LocalDiskBackend&locations=LocalCPUBackend").json()["num_removed"] == 64
    assert retrieved(disk) == 0


@pytest.mark.parametrize("query", ["locations=NoSuch", "locations=", "locations=LocalCPUBackend,LocalDiskBackend"])
def test_clear_of_unknown_location_removes_nothing(disk, query):
    disk.post("/cache/store?tokens_mock=0,64")
    answer = disk.delete(f"/cache/clear?{query}")
    assert (answer.status, answer.json()["num_removed"]) == (200, 0)
    assert retrieved(disk) == 64


@pytest.mark.parametrize("query", ["location=NoSuchBackend", "locations[]=NoSuchBackend"])
def test_clear_with_a_misspelt_parameter_clears_everything(disk, query):
    disk.post("/cache/store?tokens_mock=0,64")
    assert disk.delete(f"/cache/clear?{query}").json()["num_removed"] == 64
    assert retrieved(disk) == 0


@pytest.mark.parametrize("content_type", ["application/json", "application/x+json", "application/json; charset=utf-8"])
@pytest.mark.parametrize("body", ["", "null", "{}", '{"request_configs": {"a": 1}}'])
def test_clear_takes_an_object_or_nothing_as_body(service, content_type, body):
    service.post("/cache/store?tokens_mock=0,32")
    answer = service.request("DELETE", "/cache/clear", body, {"Content-Type": content_type})
    assert (answer.status, answer.json()["num_removed"]) == (200, 32)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", "[]"),
        ("application/json", "5"),
        ("application/json", '"text"'),
        ("application/json", "{broken"),
        ("application/json", '{"a": 1, "a": 2}'),
        ("application/json", '{"a": NaN}'),
        ("application/json", "[" * 100_000),
        ("application/json", b"\xff\xfe"),
        ("text/plain", "{}"),
        ("application/x-www-form-urlencoded", "a=b"),
    ],
)
def test_other_bodies_are_422_and_nothing_is_cleared(service, content_type, body):
    service.post("/cache/store?tokens_mock=0,64")
    answer = service.request("DELETE", "/cache/clear", body, {"Content-Type": content_type})
    assert (answer.status, answer.type) == (422, "application/json")
    assert set(answer.json()) == {"error", "message", "errors"}
    assert list(answer.json()["errors"]) == ["json"]
    assert retrieved(service) == 64


@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", "/cache/clear"), ("POST", "/cache/store?tokens_mock=bad"), ("POST", "/cache/retrieve")],
)
def test_without_an_engine_it_is_503_before_400(serve, method, path):
    answer = serve(role="scheduler").request(method, path)
    assert (answer.status, answer.type, answer.text) == (503, "application/json", UNAVAILABLE)


def test_bad_body_is_422_before_503(serve):
    running = serve(role="scheduler")
    answer = running.request("DELETE", "/cache/clear", "[]", {"Content-Type": "application/json"})
    assert answer.status == 422


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/cache/clear"), ("POST", "/cache/store?tokens_mock=0,16")])
def test_engine_that_is_not_ready_yet_is_503(service, method, path):
    engine = service.manager.lmcache_engine
    storage, engine.storage_manager = engine.storage_manager, None
    answer = service.request(method, path)
    engine.storage_manager = storage
    assert (answer.status, answer.json()["error"]) == (503, "LMCache API is unavailable")
    assert "not ready" in answer.json()["message"]


def test_body_of_a_route_without_one_is_ignored(service):
    answer = service.post("/cache/store?tokens_mock=0,16", b"{broken")
    assert answer.status == 200


@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
@pytest.mark.parametrize("body", [" ", "\n", "\t \r\n"])
def test_blank_body_is_422_and_removes_nothing(service, body, content_type):
    service.post("/cache/store?tokens_mock=0,32")
    answer = service.request("DELETE", "/cache/clear", body, {"Content-Type": content_type})
    assert answer.status == 422
    assert retrieved(service, "0,32") == 32


@pytest.mark.parametrize("given", ["2147483648,2147483700", "-2147483700,-2147483660", f"{2**64},{2**64 + 5}"])
def test_token_beyond_31_bits_is_400_with_the_bound(service, given):
    answer = service.post(f"/cache/store?tokens_mock={given}")
    assert answer.status == 400
    assert "2147483647" in answer.json()["message"]


class Engine:
    """An engine as a stranger might write it: it reports what it removes, and has no storage manager."""

    def __init__(self, config):
        self.config, self.metadata = config, SimpleNamespace(worker_id=0)

    def clear(self, *, locations=None, request_configs=None, on_removed=None):
        for _ in range(3):
            on_removed(1)
        return 48


@pytest.fixture
def stranger(serve):
    """A server over such an engine."""
    config = serve(role="scheduler").manager.config
    return serve(SimpleNamespace(config=config, lmcache_engine=Engine(config)))


def test_clear_that_reports_without_a_storage_manager_counts_towards_an_unknown_end(stranger):
    answer = stranger.delete("/cache/clear")
    assert (answer.status, answer.json()) == (200, {"status": "success", "num_removed": 48})
    progress = stranger.get("/jobs").json()["jobs"][0]["progress"]
    assert (progress["done"], progress["of"]) == (3, None)


def test_clear_that_does_not_tell_its_parameters_is_called_without_the_report(stranger):
    stranger.manager.lmcache_engine.clear = dict  # a callable of C, whose parameters nobody can ask for
    answer = stranger.delete("/cache/clear")
    assert (answer.status, answer.json()["error"]) == (502, "Failed to clear cache")
    assert "clear() answered a dict" in answer.json()["message"]
