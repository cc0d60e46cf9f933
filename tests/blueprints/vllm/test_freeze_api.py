"""PUT /freeze/enable, /freeze/disable and GET /freeze/status."""

import pytest

ON = '{\n  "status": "success",\n  "freeze": true,\n  "message": "Freeze mode %s"\n}'
OFF = ON.replace("true", "false")


def test_mode_is_switched_on_and_off_in_the_words_of_the_contract(service):
    for answer, text in (
        (service.get("/freeze/status"), OFF % "is disabled"),
        (service.put("/freeze/enable"), ON % "enabled successfully"),
        (service.get("/freeze/status"), ON % "is enabled"),
        (service.put("/freeze/disable"), OFF % "disabled successfully"),
        (service.get("/freeze/status"), OFF % "is disabled"),
    ):
        assert (answer.status, answer.type, answer.text) == (200, "application/json", text)


@pytest.mark.parametrize("word", ["enable", "disable"])
def test_switching_twice_is_the_same_as_once(service, word):
    first, second = service.put(f"/freeze/{word}"), service.put(f"/freeze/{word}")
    assert (second.status, second.body) == (200, first.body)


def test_frozen_engine_stores_nothing_and_goes_on_reading(service):
    service.post("/cache/store?tokens_mock=0,32")
    service.put("/freeze/enable")
    assert service.post("/cache/store?tokens_mock=100,132").json()["num_tokens"] == 32
    assert service.post("/cache/retrieve?tokens_mock=0,32").json()["num_retrieved"] == 32
    assert service.post("/cache/retrieve?tokens_mock=100,132").json()["num_retrieved"] == 0
    service.put("/freeze/disable")
    service.post("/cache/store?tokens_mock=100,132")
    assert service.post("/cache/retrieve?tokens_mock=100,132").json()["num_retrieved"] == 32


@pytest.mark.parametrize(("method", "word"), [("PUT", "enable"), ("PUT", "disable"), ("GET", "status")])
def test_without_an_engine_each_path_names_itself(serve, method, word):
    answer = serve(role="scheduler").request(method, f"/freeze/{word}")
    assert (answer.status, answer.type) == (503, "application/json")
    assert answer.text == (
        f'{{\n  "error": "/freeze/{word} API is unavailable",\n  "message": "LMCache engine not configured."\n}}'
    )


@pytest.mark.parametrize(("method", "word"), [("PUT", "enable"), ("PUT", "disable"), ("GET", "status")])
def test_engine_that_is_not_ready_yet_is_503_and_nothing_is_switched(service, method, word):
    engine = service.manager.lmcache_engine
    storage, engine.storage_manager = engine.storage_manager, None
    answer = service.request(method, f"/freeze/{word}")
    engine.storage_manager = storage
    assert answer.status == 503
    assert answer.json()["error"] == f"/freeze/{word} API is unavailable"
    assert "not ready" in answer.json()["message"]
    assert service.get("/freeze/status").json()["freeze"] is False


@pytest.mark.parametrize(("method", "word"), [("GET", "enable"), ("POST", "enable"), ("HEAD", "enable")])
def test_other_methods_are_405_and_switch_nothing(service, method, word):
    answer = service.request(method, f"/freeze/{word}")
    assert answer.status == 405
    assert service.get("/freeze/status").json()["freeze"] is False
