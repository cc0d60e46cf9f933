"""POST /chunk_statistics/start, stop and reset, GET /chunk_statistics/status."""

import threading
import time
from types import SimpleNamespace

import pytest

from lmcache_admin.engine import Configuration

ROUTES = [("POST", "start"), ("POST", "stop"), ("POST", "reset"), ("GET", "status")]
HOURS, TARGET = "chunk_statistics_auto_exit_timeout_hours", "chunk_statistics_auto_exit_target_unique_chunks"


class Keeper:
    """A client that keeps statistics, as a stranger might write it."""

    def __init__(self):
        self.enabled, self.resets = False, 0

    def start_statistics(self):
        self.enabled = True

    def stop_statistics(self):
        self.enabled = False

    def reset_statistics(self):
        self.resets += 1

    def get_statistics(self):
        return {"enabled": self.enabled, "total_requests": 0, "resets": self.resets, "reuse_rate": 0.25}


class Failing(Keeper):
    """A client whose every method does what the test says."""

    def __init__(self, act):
        self._act = act
        self.start_statistics = self.stop_statistics = self.reset_statistics = self.get_statistics = act


@pytest.fixture
def scheduler(serve):
    """A scheduler of the embedded engine whose client keeps statistics; its worker has nothing stored."""

    def start(**extra_config):
        return serve(role="scheduler", enable_chunk_statistics=True, extra_config=extra_config)

    return start


def look_up(running, name, count):
    """Look up the tokens 0 … count-1, as the inference engine does."""
    running.manager.lookup_client.lookup(list(range(count)), name)


def status_of(running):
    return running.get("/chunk_statistics/status").json()


class TestEmbeddedEngine:
    def test_chunks_that_come_again_are_counted_while_it_is_on(self, scheduler, eventually):
        running = scheduler()
        look_up(running, "before", 64)
        running.post("/chunk_statistics/start")
        look_up(running, "first", 64)
        look_up(running, "second", 32)
        eventually(lambda: status_of(running)["async_queue"]["current_size"] == 0)
        running.post("/chunk_statistics/stop")
        look_up(running, "after", 96)
        status = status_of(running)
        assert (status["enabled"], status["total_requests"]) == (False, 2)
        assert (status["total_chunks"], status["unique_chunks"], status["duplicate_chunks"]) == (6, 4, 2)
        assert status["reuse_rate"] == pytest.approx(2 / 6)

    def test_status_has_the_keys_of_the_contract_in_their_order(self, scheduler):
        status = status_of(scheduler())
        assert list(status) == [
            *("enabled", "total_requests", "timing", "total_chunks", "unique_chunks", "duplicate_chunks"),
            *("reuse_rate", "bloom_filter", "async_queue", "timestamp", "auto_exit_enabled"),
            *("auto_exit_timeout_hours", "auto_exit_target_unique_chunks"),
        ]
        assert list(status["timing"]) == [
            *("lookup_time_seconds", "record_statistics_time_seconds", "check_exit_conditions_time_seconds"),
            *("total_time_seconds", "overhead_time_seconds", "overhead_percentage"),
        ]
        assert list(status["bloom_filter"]) == [
            *("size_mb", "hash_count", "item_count", "bits_set", "fill_rate", "expected_elements"),
            "false_positive_rate",
        ]
        queue = ["capacity", "current_size", "max_size_reached", "full_blocks", "utilization"]
        assert list(status["async_queue"]) == queue

    def test_hash_files_have_keys_of_their_own(self, serve, tmp_path):
        running = serve(
            role="scheduler",
            enable_chunk_statistics=True,
            chunk_statistics_strategy="file_hash",
            extra_config={"chunk_statistics_file_output_dir": str(tmp_path / "hashes")},
        )
        status = status_of(running)
        assert "bloom_filter" not in status
        assert list(status["file_hash"]) == ["file_count", "current_file_size", "file_max_count", "output_dir"]
        assert status["file_hash"]["output_dir"] == str(tmp_path / "hashes")

    @pytest.mark.parametrize("on", [True, False])
    def test_reset_keeps_whether_it_is_on(self, scheduler, on):
        running = scheduler()
        running.post("/chunk_statistics/start")
        look_up(running, "first", 64)
        running.post(f"/chunk_statistics/{'start' if on else 'stop'}")
        assert running.post("/chunk_statistics/reset").json() == {"status": "success", "message": "Reset"}
        status = status_of(running)
        assert (status["enabled"], status["total_requests"], status["total_chunks"]) == (on, 0, 0)

    def test_a_client_that_keeps_none_is_400_and_a_worker_is_503(self, serve):
        assert serve(role="scheduler").post("/chunk_statistics/start").status == 400
        worker = serve(enable_chunk_statistics=True, internal_api_server_port_start=100)
        assert worker.post("/chunk_statistics/start").status == 503

    def test_a_client_that_was_closed_is_503(self, scheduler):
        running = scheduler()
        running.post("/lookup/close")
        assert running.get("/chunk_statistics/status").status == 503


@pytest.fixture
def host(serve, tmp_path):
    """Serve a scheduler with the client that is given; further arguments are its configuration."""

    def start(client, **configuration):
        address = {
            "internal_api_server_enabled": True,
            "internal_api_server_socket_path_prefix": str(tmp_path / "api"),
        }
        config = Configuration.from_mapping({**address, **configuration}, {})
        return serve(SimpleNamespace(config=config, lmcache_engine=None, lookup_client=client))

    return start


@pytest.mark.parametrize(
    ("word", "message"), [("start", "Started"), ("stop", "Stopped"), ("reset", "Reset"), ("start?x=1", "Started")]
)
def test_a_change_is_answered_in_the_words_of_the_contract(host, word, message):
    answer = host(Keeper()).post(f"/chunk_statistics/{word}")
    assert (answer.status, answer.type) == (200, "application/json")
    assert answer.text == f'{{\n  "status": "success",\n  "message": "{message}"\n}}'


def test_each_route_does_what_it_says(host):
    running = host(Keeper())
    seen = []
    for word in ("start", "reset", "start", "stop", "reset", "stop"):
        running.post(f"/chunk_statistics/{word}")
        status = running.get("/chunk_statistics/status").json()
        seen.append((status["enabled"], status["resets"]))
    assert seen == [(True, 0), (True, 1), (True, 1), (False, 1), (False, 2), (False, 2)]


def test_status_is_the_figures_of_the_client_then_the_time_and_what_ends_it(host):
    before = time.time()
    answer = host(Keeper()).get("/chunk_statistics/status")
    assert (answer.status, answer.type) == (200, "application/json")
    status = answer.json()
    stamp = status.pop("timestamp")
    assert before <= stamp <= time.time()
    assert list(status.items()) == [
        ("enabled", False),
        ("total_requests", 0),
        ("resets", 0),
        ("reuse_rate", 0.25),
        ("auto_exit_enabled", False),
        ("auto_exit_timeout_hours", 0.0),
        ("auto_exit_target_unique_chunks", 0),
    ]


@pytest.mark.parametrize(
    ("hours", "target", "enabled"),
    [(0.0, 0, False), (0.5, 0, True), (0.0, 10, True), (2.0, 5, True), (None, None, False), (None, 1, True)],
)
def test_an_end_by_itself_is_on_when_one_of_its_limits_is_set(host, hours, target, enabled):
    running = host(Keeper())
    setattr(running.manager.config, HOURS, hours)
    setattr(running.manager.config, TARGET, target)
    status = running.get("/chunk_statistics/status").json()
    assert status["auto_exit_enabled"] is enabled
    assert (status["auto_exit_timeout_hours"], status["auto_exit_target_unique_chunks"]) == (hours, target)


@pytest.mark.parametrize("depth", [1, 3])
def test_a_wrapped_client_that_keeps_statistics_is_found(host, depth):
    keeper = client = Keeper()
    for _ in range(depth):
        client = SimpleNamespace(actual_lookup_client=client)
    assert host(client).post("/chunk_statistics/start").status == 200
    assert keeper.enabled


def endless():
    client = SimpleNamespace()
    client.actual_lookup_client = client
    return client


@pytest.mark.parametrize(
    "client",
    [SimpleNamespace(), SimpleNamespace(get_statistics=dict), SimpleNamespace(actual_lookup_client=None), endless()],
    ids=["plain", "half", "wraps nothing", "wraps itself"],
)
@pytest.mark.parametrize(("method", "word"), ROUTES)
def test_a_client_without_statistics_is_400(host, method, word, client):
    answer = host(client).request(method, f"/chunk_statistics/{word}")
    assert (answer.status, answer.type) == (400, "application/json")
    assert answer.text == (
        '{\n  "error": "Not available",\n  "message": "Client does not support statistics."\n}'
    )


@pytest.mark.parametrize("without", ["worker", "client", "attribute"])
@pytest.mark.parametrize(("method", "word"), ROUTES)
def test_without_a_client_it_is_503(serve, host, method, word, without):
    running = serve() if without == "worker" else host(None)
    if without == "attribute":
        del running.manager.lookup_client
    answer = running.request(method, f"/chunk_statistics/{word}")
    assert (answer.status, answer.type) == (503, "application/json")
    assert answer.text == (
        '{\n  "error": "API unavailable",\n  "message": "Lookup client not configured."\n}'
    )


@pytest.mark.parametrize(("method", "word"), ROUTES)
def test_an_exception_is_500_in_the_words_of_the_contract(host, method, word):
    def boom():
        raise OSError("the recorder is gone")

    answer = host(Failing(boom)).request(method, f"/chunk_statistics/{word}")
    operation = "get status" if word == "status" else word
    assert (answer.status, answer.type) == (500, "application/json")
    assert answer.text == f'{{\n  "error": "Failed to {operation}",\n  "message": "the recorder is gone"\n}}'


@pytest.mark.parametrize("junk", [None, 5, "text", b"bytes", [1]])
def test_figures_that_are_none_are_502(host, junk):
    answer = host(Failing(lambda: junk)).get("/chunk_statistics/status")
    assert (answer.status, answer.json()["error"]) == (502, "Failed to get status")
    assert f"get_statistics() answered a {type(junk).__name__}, expected" in answer.json()["message"]


@pytest.mark.parametrize("junk", [{"rate": float("nan")}, {"rate": b"bytes"}, {b"key": 1}])
def test_figures_that_json_has_no_form_for_are_a_failure(host, junk):
    assert host(Failing(lambda: junk)).get("/chunk_statistics/status").status in (500, 502)


@pytest.mark.parametrize(
    ("method", "word"), [("GET", "start"), ("PUT", "stop"), ("POST", "status"), ("DELETE", "reset"), ("HEAD", "status")]
)
def test_other_methods_are_405_and_change_nothing(host, method, word):
    keeper = Keeper()
    assert host(keeper).request(method, f"/chunk_statistics/{word}").status == 405
    assert (keeper.enabled, keeper.resets) == (False, 0)


@pytest.mark.parametrize(("method", "word"), [("POST", "reset"), ("GET", "status")])
def test_reads_and_changes_go_on_while_the_queue_is_waited_for(host, method, word):
    began, may_end = threading.Event(), threading.Event()

    def wait():
        began.set()
        assert may_end.wait(60)
        return {}

    running = host(Failing(wait))
    answers = []
    asking = [
        threading.Thread(target=lambda: answers.append(running.request(method, f"/chunk_statistics/{word}").status))
        for _ in range(4)
    ]
    for thread in asking:
        thread.start()
    assert began.wait(30)
    assert running.get("/conf?names=chunk_size").status == 200
    assert running.post("/conf", '{"min_retrieve_tokens": 3}').status == 200
    may_end.set()
    for thread in asking:
        thread.join()
    assert answers == [200] * 4
