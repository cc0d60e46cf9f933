"""POST /cache/load-fs-chunks as a request and as a job: what is refused, 202, progress, errors, cancelling."""

import json
import threading
from types import SimpleNamespace

import pytest

PATH = "/cache/load-fs-chunks"
ASYNC = {"Prefer": "respond-async", "Content-Type": "application/json"}


@pytest.fixture
def config(tmp_path):
    """The path of a configuration whose folder holds a file that is no chunk."""
    folder = tmp_path / "chunks"
    folder.mkdir()
    (folder / "garbage.data").write_bytes(b"not a chunk")
    path = tmp_path / "store.yaml"
    path.write_text(f"remote_url: fs://localhost:0{folder}\n")
    return str(path)


@pytest.fixture
def running(serve, tmp_path):
    """A worker that reads configurations of the test's folder."""
    return serve(extra={"config_folders": [str(tmp_path)]})


def body(config, **more):
    return json.dumps({"config_path": config, **more})


@pytest.mark.parametrize(
    "sent",
    [
        {"config_path": 5},
        {"config_path": None},
        {"max_chunks": 2},
        {"config_path": "/x.yaml", "max_chunks": 1.5},
        {"config_path": "/x.yaml", "max_chunks": "x"},
        {"config_path": "/x.yaml", "max_chunks": "1e3"},
        {"config_path": "/x.yaml", "max_chunks": []},
        {"config_path": "/x.yaml", "max_failed_keys": None},
        {"config_path": "/x.yaml", "max_failed_keys": 0.5},
        [],
        None,
        "x",
    ],
)
def test_a_wrong_type_is_422(running, sent):
    assert running.post(PATH, json.dumps(sent)).status == 422


@pytest.mark.parametrize("sent", ["{", "", '{"config_path": "a", "config_path": "b"}', '{"config_path": "\\ud800"}'])
def test_a_body_that_is_no_json_object_is_422(running, sent):
    assert running.post(PATH, sent).status == 422


@pytest.mark.parametrize(
    ("content_type", "status"),
    [("application/json", 200), ("application/x+json", 200), ("text/plain", 422), (None, 422)],
)
def test_a_body_counts_as_json_by_its_content_type(running, config, content_type, status):
    headers = {"Content-Type": content_type} if content_type else {}
    assert running.request("POST", PATH, body(config), headers).status == status


def test_unknown_fields_are_ignored(running, config):
    assert running.post(PATH, body(config, unknown=1)).status == 200


def test_an_unknown_path_is_400_in_the_contracts_bytes(running):
    answer = running.post(PATH, body("/no/such/file.yaml"))
    assert (answer.status, answer.type) == (400, "application/json")
    assert answer.text == (
        """{"detail":"Invalid configuration file: [Errno 2] No such file or directory: '/no/such/file.yaml'"}"""
    )


def test_without_an_engine_it_is_503_after_422(serve):
    running = serve(role="scheduler")
    answer = running.post(PATH, body("/no/such/file.yaml"))
    assert (answer.status, answer.type) == (503, "application/json")
    assert answer.text == (
        '{\n  "error": "/cache/load-fs-chunks API is unavailable",\n  "message": "LMCache engine not configured."\n}'
    )
    assert running.post(PATH, "{}").status == 422


def test_s58_by_default_the_settings_files_folder_is_where_configurations_lie(serve, tmp_path, config, monkeypatch):
    monkeypatch.setenv("LMCACHE_CONFIG_FILE", str(tmp_path / "lmcache.yaml"))
    assert serve().post(PATH, body(config)).status == 200


def test_s58_without_a_settings_file_no_configuration_is_read(service, config):
    assert service.post(PATH, body(config)).status == 400


def test_with_the_hot_cache_off_it_is_409(running, config):
    running.put("/hot_cache/disable")
    answer = running.post(PATH, body(config))
    assert (answer.status, answer.json()["error"]) == (409, "Failed to load chunks from FSConnector")
    assert "PUT /hot_cache/enable" in answer.json()["message"]


def test_as_a_job_it_answers_202_and_its_errors_are_listed(running, config, eventually):
    answer = running.request("POST", PATH, body(config), ASYNC)
    place = answer.headers["Location"]
    assert answer.status == 202
    eventually(lambda: running.get(place).json()["state"] == "done")
    told = running.get(place).json()
    assert (told["operation"], told["status"]) == ("load chunks from FSConnector", 200)
    assert (told["progress"]["done"], told["progress"]["of"], told["progress"]["unit"]) == (1, 1, "chunks")
    assert told["errors"] == [{"item": "garbage", "error": "its name is no chunk key"}]
    assert told["result"]["failed_keys"] == ["garbage"]
    assert running.get(f"{place}/result").text == running.post(PATH, body(config)).text


def test_a_bad_path_is_refused_before_a_job_begins(running):
    assert running.request("POST", PATH, body("/no/such/file.yaml"), ASYNC).status == 400
    assert running.request("POST", PATH, "[]", ASYNC).status == 422
    assert running.get("/jobs").json()["total"] == 0


def test_a_job_is_cancelled_at_the_next_chunk(serve, tmp_path, config, eventually):
    engine = Slow(serve(role="scheduler").manager.config, tmp_path)
    running = serve(SimpleNamespace(config=engine.config, lmcache_engine=engine, lmcache_engine_metadata=None))
    try:
        place = running.request("POST", PATH, body(config), ASYNC).headers["Location"]
        engine.step.release(10)
        eventually(lambda: running.get(place).json()["progress"]["done"] == 10)
        assert running.post(f"{place}/cancel").status == 200
        engine.step.release(4)
        eventually(lambda: running.get(place).json()["state"] == "cancelled")
        result = running.get(f"{place}/result")
        assert (result.status, result.json()["error"]) == (409, "Failed to load chunks from FSConnector")
        assert result.json()["message"].startswith("cancelled after 1")
        assert engine.closed
    finally:
        engine.step.release(1000)


class Slow:
    """An engine whose source has a thousand chunks and loads each when `step` is released."""

    storage_manager = SimpleNamespace()
    metadata = SimpleNamespace(worker_id=1)

    def __init__(self, config, folder):
        extra = {**config.extra_config, "internal_api_server_config_folders": [str(folder)]}
        self.config = SimpleNamespace(**{**vars(config), "extra_config": extra})
        self.step, self.closed = threading.Semaphore(0), False

    def open_chunk_source(self, store):
        return self

    def is_hot_cache_enabled(self):
        return True

    def keys(self):
        return [str(number) for number in range(1000)]

    def load(self, key):
        self.step.acquire()
        return "loaded", ""

    def holds(self, key):
        return True

    def close(self):
        self.closed = True


def test_a_job_lists_a_hundred_failures_and_counts_all(running, config, tmp_path, eventually):
    for number in range(119):
        (tmp_path / "chunks" / f"garbage{number}.data").write_bytes(b"not a chunk")
    place = running.request("POST", PATH, body(config), ASYNC).headers["Location"]
    job = eventually(lambda: ended(running, place))
    assert (len(job["errors"]), job["error_count"], job["result"]["failed_chunks"]) == (100, 120, 120)
    assert len({error["item"] for error in job["errors"]}) == 100


def ended(running, place):
    """The job, once it is done."""
    job = running.get(place).json()
    return job if job["state"] == "done" else None
