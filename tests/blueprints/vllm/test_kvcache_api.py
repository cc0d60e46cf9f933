"""GET /cache/kvcache/info, POST /cache/kvcache/record_slot, and what all three routes need of the host."""

import json
import logging
from types import SimpleNamespace

import pytest

from lmcache_admin import create_app
from lmcache_admin.settings import Settings

CHECK = "/cache/kvcache/check"
RECORD = "/cache/kvcache/record_slot"
NONE = '{\n  "error": "kv_caches not available",\n  "message": "kv_caches is empty or not initialized"\n}'
NO_MANAGER = '{\n  "error": "LMCache adapter unavailable",\n  "message": "LMCache adapter not configured."\n}'


def test_info_describes_each_layer_in_the_engines_order(service):
    answer = service.get("/cache/kvcache/info")
    assert (answer.status, answer.type) == (200, "application/json")
    layer = {"shape": [2, 64, 16, 4, 16], "dtype": "torch.float16", "device": "cpu"}
    layers = {"model.layers.0": layer, "model.layers.1": layer}
    assert answer.text == json.dumps({"status": "success", "num_layers": 2, "layers": layers}, indent=2)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "uint8"])
def test_info_names_the_element_type_of_the_engine(serve, dtype):
    running = serve(extra_config={"embedded_engine_dtype": dtype, "embedded_engine_mla": True})
    layer = running.get("/cache/kvcache/info").json()["layers"]["model.layers.1"]
    assert layer == {"shape": [64, 16, 16], "dtype": f"torch.{dtype}", "device": "cpu"}


@pytest.mark.parametrize("path", ["/cache/kvcache/info", f"{CHECK}?slot_mapping=0,1&chunk_size=0"])
def test_without_kv_caches_it_is_404(serve, path):
    answer = serve(role="scheduler").get(path)
    assert (answer.status, answer.type, answer.text) == (404, "application/json", NONE)


@pytest.mark.parametrize("query", ["", "?slot_mapping=a"])
def test_bad_slots_are_400_before_404(serve, query):
    assert serve(role="scheduler").get(CHECK + query).status == 400


@pytest.fixture
def bare(serve, tmp_path):
    """A server whose manager has neither engine nor `kv_caches`."""
    config = SimpleNamespace(
        internal_api_server_enabled=True,
        internal_api_server_socket_path_prefix=str(tmp_path / "bare"),
        extra_config={},
    )
    return serve(SimpleNamespace(config=config, lmcache_engine=None, lmcache_engine_metadata=None))


def test_manager_that_knows_of_no_kv_caches_is_404_for_info_and_500_for_check(bare):
    answer = bare.get("/cache/kvcache/info")
    assert (answer.status, answer.text) == (404, NONE)
    answer = bare.get(f"{CHECK}?slot_mapping=0&chunk_size=1")
    assert answer.status == 500
    assert answer.text == (
        '{\n  "error": "Failed to compute checksums",\n'
        "  \"message\": \"'SimpleNamespace' object has no attribute 'kv_caches'\"\n}"
    )


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/cache/kvcache/info", "Failed to get kvcache info"),
        (f"{CHECK}?slot_mapping=0&chunk_size=1", "Failed to compute checksums"),
    ],
)
def test_what_is_no_tensor_is_500(service, path, error):
    service.manager.lmcache_engine.gpu_connector.named = {"a": object()}
    answer = service.get(path)
    assert (answer.status, answer.json()["error"]) == (500, error)
    assert "object has no attribute" in answer.json()["message"]


@pytest.mark.parametrize("path", ["/cache/kvcache/info", f"{CHECK}?slot_mapping=a", f"POST {RECORD}?enabled=bad"])
def test_without_a_manager_it_is_503_before_400(path):
    """Over WSGI: a server of our own always has a manager."""
    app = create_app(None, Settings.from_mapping({"extra_config": {"internal_api_server_auth": "off"}}, {}))
    method, _, target = path.rpartition(" ")
    answer = app.test_client().open(target, method=method or "GET", base_url="http://localhost")
    assert (answer.status_code, answer.content_type, answer.text) == (503, "application/json", NO_MANAGER)


def test_recording_is_asked_set_and_unset(service):
    for query, recording in (("", False), ("?enabled=TRUE", True), ("", True), ("?enabled=False", False), ("", False)):
        answer = service.post(RECORD + query)
        assert (answer.status, answer.type) == (200, "application/json")
        assert answer.text == json.dumps({"status": "success", "kvcache_check_log_enabled": recording}, indent=2)
        assert service.manager.lmcache_engine.kvcache_check_log_enabled is recording


def test_recorded_slots_are_in_the_log(service, caplog):
    service.post(f"{RECORD}?enabled=true")
    with caplog.at_level(logging.INFO, logger="lmcache_admin.engine"):
        service.post("/cache/store?tokens_mock=0,32")
    assert "[KVCache Check]" in caplog.text
    assert "tokens=32, slot_mapping: [[0, 31]]" in caplog.text


@pytest.mark.parametrize("word", ["1", "", "%20true", "true&enabled=yes", "bad"])
@pytest.mark.parametrize("role", ["worker", "scheduler"])
def test_other_words_are_400_and_set_nothing(serve, role, word):
    running = serve(role=role)
    answer = running.post(f"{RECORD}?enabled={word}")
    assert answer.status == 400
    assert answer.text == (
        '{\n  "error": "Invalid parameter",\n  "message": "enabled must be \'true\' or \'false\'"\n}'
    )
    assert running.post(RECORD).json()["kvcache_check_log_enabled"] is False


@pytest.mark.parametrize("word", ["true", "false"])
def test_without_an_engine_asking_is_200_and_setting_is_500(serve, word):
    running = serve(role="scheduler")
    assert running.post(RECORD).json() == {"status": "success", "kvcache_check_log_enabled": False}
    answer = running.post(f"{RECORD}?enabled={word}")
    assert (answer.status, answer.type) == (500, "application/json")
    assert answer.text == (
        '{\n  "error": "Failed to set record slot status",\n'
        "  \"message\": \"'NoneType' object has no attribute 'kvcache_check_log_enabled'\"\n}"
    )


@pytest.mark.parametrize(("method", "path"), [("POST", CHECK), ("GET", RECORD), ("PUT", "/cache/kvcache/info")])
def test_other_methods_are_405(service, method, path):
    assert service.request(method, f"{path}?slot_mapping=0&enabled=true").status == 405
    assert service.manager.lmcache_engine.kvcache_check_log_enabled is False
