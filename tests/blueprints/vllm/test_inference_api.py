"""GET /inference_info and /inference_version."""

from pathlib import PurePosixPath

import pytest


class Connector:
    """A connector that knows its engine's version."""

    def get_inference_version(self):
        return "0.11.0"


class Bare:
    """A manager that knows nothing of inference itself."""

    def __init__(self, manager, connector=None):
        self.config = manager.config
        self.lmcache_engine = None
        self.lmcache_engine_metadata = None
        self.kv_caches = {}
        self._connector = connector

    def get_inference_info(self):
        return {}


@pytest.fixture
def bare(serve):
    """Serve a manager of the surface that LMCache 0.5.6 has, beside the embedded one."""

    def start(connector=None):
        return serve(Bare(serve(worker_id=1).manager, connector))

    return start


def test_info_of_the_embedded_engine_has_model_and_cache(service):
    answer = service.get("/inference_info")
    assert (answer.status, answer.type) == (200, "application/json")
    assert answer.json()["model_config"]["dtype"] == "torch.float16"
    assert answer.json()["cache_config"]["block_size"] == 16
    assert answer.text.startswith('{\n  "model_config": {\n    "model": "')


def test_format_is_ignored(service):
    assert service.get("/inference_info?format=xml").body == service.get("/inference_info").body


def test_what_json_has_no_form_for_is_printed(service):
    service.manager.get_inference_info = lambda: {"path": PurePosixPath("/models/m"), "sizes": (1, 2)}
    assert service.get("/inference_info").text == '{\n  "path": "/models/m",\n  "sizes": [\n    1,\n    2\n  ]\n}'


def test_without_a_connector_it_is_an_empty_object(bare):
    answer = bare().get("/inference_info")
    assert (answer.status, answer.text) == (200, "{}")


def test_failure_is_500_with_its_message(service):
    def fail():
        raise ValueError("no model yet")

    service.manager.get_inference_info = fail
    answer = service.get("/inference_info")
    assert (answer.status, answer.type) == (500, "application/json")
    assert answer.text == '{\n  "error": "Failed to get inference info",\n  "message": "no model yet"\n}'


def test_version_comes_from_the_manager(service):
    assert service.get("/inference_version").text == '{\n  "vllm_version": "embedded"\n}'


def test_version_comes_from_the_connector_where_the_manager_has_none(bare):
    assert bare(Connector()).get("/inference_version").json() == {"vllm_version": "0.11.0"}


def test_version_that_nobody_knows_is_500_in_the_words_of_the_contract(bare):
    answer = bare().get("/inference_version")
    assert answer.status == 500
    assert answer.json() == {
        "error": "Failed to get inference version",
        "message": "'Bare' object has no attribute 'get_inference_version'",
    }
