"""GET /cache/kvcache/check: digests, what is refused, and the work behind it."""

import contextlib
import hashlib
import json
import threading
from urllib.parse import quote

import numpy as np
import pytest

CHECK = "/cache/kvcache/check"
MISSING = '{\n  "error": "Missing parameters",\n  "message": "slot_mapping parameter is required"\n}'


def md5(data):
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def check(running, slots, **query):
    asked = "".join(f"&{name}={value}" for name, value in query.items())
    return running.get(f"{CHECK}?slot_mapping={quote(slots)}{asked}")


@pytest.fixture
def caches(service):
    """Three layers of the embedded engine, none in the order of its name."""
    random = np.random.default_rng(7)
    layers = {f"model.layers.{n}": random.random((2, 4, 8, 2, 4)).astype(np.float16) for n in (2, 10, 0)}
    service.manager.lmcache_engine.gpu_connector.named = layers
    return layers


def of_slots(array, slots):
    return md5(array.reshape(2, 32, 8)[:, slots].tobytes())


def test_digests_of_each_layer(service, caches):
    answer = check(service, "0,1,2,9,[30,31]", chunk_size=4, layerwise="true")
    assert (answer.status, answer.type) == (200, "application/json")
    wanted = {name: [of_slots(a, [0, 1, 2, 9]), of_slots(a, [30, 31])] for name, a in caches.items()}
    assert answer.text == json.dumps(
        {
            "status": "success",
            "slot_mapping_ranges": [[0, 2], 9, 30, 31],
            "chunk_size": 4,
            "num_chunks": 2,
            "chunk_checksums": wanted,
            "layerwise": True,
        },
        indent=2,
    )


def test_digests_of_all_layers_together_are_of_texts_in_sorted_order(service, caches):
    answer = check(service, "[0,4]", chunk_size=3)
    layers = ["model.layers.0", "model.layers.10", "model.layers.2"]
    wanted = [md5("".join(of_slots(caches[n], s) for n in layers).encode()) for s in ([0, 1, 2], [3, 4])]
    assert answer.text == json.dumps(
        {
            "status": "success",
            "slot_mapping_ranges": [[0, 4]],
            "chunk_size": 3,
            "num_chunks": 2,
            "chunk_checksums": wanted,
            "layerwise": False,
        },
        indent=2,
    )


def test_bfloat16_of_the_embedded_engine_is_digested_as_float32(serve):
    running = serve(extra_config={"embedded_engine_dtype": "bfloat16"})
    cache = running.manager.kv_caches["model.layers.0"]
    words = cache.reshape(2, 1024, 64)[:, [3, 1, 500]].astype(np.uint32) << 16
    answer = check(running, "3,1,500", chunk_size=3, layerwise="1").json()
    assert answer["chunk_checksums"]["model.layers.0"] == [md5(words.tobytes())]


def test_a_changed_slot_changes_its_chunk_alone(service, caches):
    before = check(service, "[0,31]", chunk_size=8).json()["chunk_checksums"]
    caches["model.layers.10"][1, 2, 5] += 1  # slot 21
    after = check(service, "[0,31]", chunk_size=8).json()["chunk_checksums"]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, False, True]


@pytest.mark.parametrize("layerwise", ["true", "false"])
def test_without_a_chunk_size_there_are_no_digests(service, layerwise):
    answer = check(service, "[0,9],3", layerwise=layerwise).json()
    assert answer == {
        "status": "success",
        "slot_mapping_ranges": [[0, 9], 3],
        "chunk_size": None,
        "num_chunks": 0,
        "chunk_checksums": [],
        "layerwise": layerwise == "true",
    }


@pytest.mark.parametrize("slots", [",,", " "])
def test_without_slots_there_are_no_digests(service, slots):
    answer = check(service, slots, chunk_size=4)
    assert (answer.status, answer.json()["slot_mapping_ranges"]) == (200, [])
    assert (answer.json()["num_chunks"], answer.json()["chunk_checksums"]) == (0, [])


@pytest.mark.parametrize("size", ["1_0", "%2010", "10.0", "2&chunk_size=10"])
def test_chunk_size_is_read_as_python_reads_integers(service, size):
    answer = check(service, "[0,19]", chunk_size=size)
    assert (answer.status, answer.json()["chunk_size"], answer.json()["num_chunks"]) == (200, 10, 2)


def test_chunk_larger_than_the_list_is_one_short_chunk(service):
    answer = check(service, "5", chunk_size="9" * 500)
    assert (answer.status, answer.json()["num_chunks"]) == (200, 1)
    assert answer.json()["chunk_size"] == int("9" * 500)


@pytest.mark.parametrize("query", ["", "?slot_mapping=", "?slot_mapping=1&slot_mapping=", "?chunk_size=0"])
def test_without_a_slot_mapping_it_is_400(service, query):
    answer = service.get(CHECK + query)
    assert (answer.status, answer.type, answer.text) == (400, "application/json", MISSING)


@pytest.mark.parametrize(
    ("slots", "why"),
    [
        ("a", "Invalid slot format: 'a'"),
        ("[5,2]", "Range start 5 must be <= end 2"),
        ("[1,2", "Unclosed bracket"),
        ("1]", "Unmatched closing bracket"),
        ("[[1,2]]", "Nested brackets not allowed"),
        ("7[0,3]", "Invalid slot format: '7[0,3]'"),
        ("[0,100000]", "100001 slots asked, at most 100000 allowed"),
        ("[0,999999999999]", "1000000000000 slots asked, at most 100000 allowed"),
        (str(2**64), f"slot numbers go up to {2**64 - 1}"),
    ],
)
def test_bad_slot_mapping_is_400_with_the_reason(service, slots, why):
    answer = check(service, slots, chunk_size=-1)
    assert (answer.status, answer.type) == (400, "application/json")
    message = f"slot_mapping must be comma-separated integers or ranges like [start,end]: {why}"
    assert answer.text == json.dumps({"error": "Invalid slot_mapping format", "message": message}, indent=2)


def test_slots_out_of_range_are_all_named(service, caches):
    answer = check(service, "99,3,-1,[31,33],99", chunk_size=0)
    assert answer.status == 400
    assert answer.text == (
        '{\n  "error": "Invalid slot indices",\n'
        '  "message": "Slot indices out of bounds: [99, -1, 32, 33, 99]. Valid range: 0 to 31"\n}'
    )


@pytest.mark.parametrize("size", ["0", "-1", "-99999999999999999999"])
def test_chunk_size_that_is_not_positive_is_400(service, size):
    answer = check(service, "1", chunk_size=size)
    assert answer.status == 400
    assert answer.text == (
        '{\n  "error": "Invalid chunk_size",\n  "message": "chunk_size must be a positive integer"\n}'
    )


def test_s48_more_than_a_million_digests_are_400_with_the_bound(service):
    service.manager.lmcache_engine.gpu_connector.named = {
        f"l{n}": np.zeros((100_000, 1, 1), np.uint8) for n in range(11)
    }
    answer = check(service, "[0,99999]", chunk_size=1, layerwise="true")
    assert (answer.status, answer.json()["error"]) == (400, "Invalid chunk_size")
    assert "at most 1000000" in answer.json()["message"]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("slot_mapping=0&chunk_size=x", "chunk_size"),
        ("slot_mapping=0&chunk_size=", "chunk_size"),
        ("chunk_size=1.5", "chunk_size"),
        ("slot_mapping=a&layerwise=2", "layerwise"),
        ("layerwise=", "layerwise"),
    ],
)
def test_wrong_types_are_422_before_everything_else(serve, query, name):
    answer = serve(role="scheduler").get(f"{CHECK}?{query}")
    assert (answer.status, list(answer.json()["errors"]["query"])) == (422, [name])


@pytest.mark.parametrize("layerwise", ["true", "false"])
def test_later_layer_with_fewer_slots_fails_alone(service, caches, layerwise):
    caches["model.layers.10"] = np.zeros((2, 1, 8, 2, 4), np.float16)
    answer = check(service, "0,31", chunk_size=1, layerwise=layerwise)
    assert answer.status == 200
    assert answer.json()["failed_layers"] == ["model.layers.10"]
    good = {name: [of_slots(caches[name], [slot]) for slot in (0, 31)] for name in ("model.layers.0", "model.layers.2")}
    if layerwise == "true":
        assert answer.json()["chunk_checksums"] == {**good, "model.layers.10": ["error", "error"]}
    else:
        wanted = [md5("".join(pair).encode()) for pair in zip(*good.values(), strict=True)]
        assert answer.json()["chunk_checksums"] == wanted


def test_line_of_ten_megabytes_is_refused_by_the_server(service):
    answer = raw_line(service, f"{CHECK}?slot_mapping={'1,' * 5_000_000}1")
    assert answer.split()[1] in (b"414", b"431")


def raw_line(running, target):
    """Send a request line of any length and read what comes back before the server closes."""
    connection = running.connection()
    connection.connect()
    try:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may answer before the end
            connection.sock.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return connection.sock.recv(65536)
    finally:
        connection.close()


class Held:
    """A tensor that cannot be read before the test says so: how long a real one takes, no test could know."""

    def __init__(self):
        self.asked, self.go = threading.Event(), threading.Event()
        self.shape, self.ndim, self.dtype, self.device = (4, 8, 16), 3, np.dtype("float32"), "elsewhere"

    def detach(self):
        self.asked.set()
        assert self.go.wait(30)
        return np.zeros(self.shape, self.dtype)


def test_health_metrics_and_reads_answer_while_a_check_runs(service, eventually):
    held = Held()
    service.manager.lmcache_engine.gpu_connector.named = {"a": held}
    answers = []
    thread = threading.Thread(target=lambda: answers.append(check(service, "[0,31]", chunk_size=8)))
    thread.start()
    try:
        assert held.asked.wait(30)
        for path in ("/healthz", "/metrics", "/freeze/status", "/version"):
            assert service.get(path).status == 200
        jobs = service.get("/jobs").json()["jobs"]
        assert [(job["operation"], job["state"]) for job in jobs] == [("compute checksums", "running")]
        assert answers == []
    finally:
        held.go.set()
        thread.join()
    assert answers[0].status == 200


def test_check_can_be_left_to_a_job_and_read_later(service, caches, eventually):
    direct = check(service, "[0,31]", chunk_size=8)
    begun = service.get(f"{CHECK}?slot_mapping=[0,31]&chunk_size=8", Prefer="respond-async")
    assert begun.status == 202
    job = begun.headers["Location"]
    eventually(lambda: service.get(job).json()["state"] == "done")
    assert service.get(f"{job}/result").body == direct.body
    progress = service.get(job).json()["progress"]
    assert (progress["done"], progress["of"], progress["unit"]) == (3 * 32 * 32, 3 * 32 * 32, "bytes")


def test_cancelled_check_ends_with_409(service, eventually):
    held = Held()
    service.manager.lmcache_engine.gpu_connector.named = {"a": held}
    job = service.get(f"{CHECK}?slot_mapping=[0,31]&chunk_size=8", Prefer="respond-async").headers["Location"]
    assert held.asked.wait(30)
    assert service.post(f"{job}/cancel").status == 200
    held.go.set()
    assert eventually(lambda: service.get(job).json()["state"] not in ("running", "queued"))
    assert service.get(job).json()["state"] == "cancelled"
    assert service.get(f"{job}/result").status == 409
