"""PUT /hot_cache/enable, /hot_cache/disable and GET /hot_cache/status."""

import pytest

ON = '{\n  "status": "success",\n  "hot_cache": true,\n  "message": "Hot cache %s"\n}'
OFF = ON.replace("true", "false")
ROUTES = [("PUT", "enable"), ("PUT", "disable"), ("GET", "status")]


def test_cache_is_switched_off_and_on_in_the_words_of_the_contract(service):
    for answer, text in (
        (service.get("/hot_cache/status"), ON % "is enabled"),
        (service.put("/hot_cache/disable"), OFF % "disabled successfully"),
        (service.get("/hot_cache/status"), OFF % "is disabled"),
        (service.put("/hot_cache/enable"), ON % "enabled successfully"),
        (service.get("/hot_cache/status"), ON % "is enabled"),
    ):
        assert (answer.status, answer.type, answer.text) == (200, "application/json", text)


def test_disabling_drops_what_was_in_memory(service):
    service.post("/cache/store?tokens_mock=0,32")
    service.put("/hot_cache/disable")
    service.put("/hot_cache/enable")
    assert service.post("/cache/retrieve?tokens_mock=0,32").json()["num_retrieved"] == 0


def test_while_it_is_off_nothing_is_kept_in_memory(service):
    service.put("/hot_cache/disable")
    service.post("/cache/store?tokens_mock=0,32")
    assert service.post("/cache/retrieve?tokens_mock=0,32").json()["num_retrieved"] == 0
    assert service.delete("/cache/clear").json()["num_removed"] == 0


@pytest.mark.parametrize(("method", "word"), ROUTES)
def test_without_an_engine_it_is_503(serve, method, word):
    answer = serve(role="scheduler").request(method, f"/hot_cache/{word}")
    assert (answer.status, answer.type) == (503, "application/json")
    assert answer.text == (
        '{\n  "error": "hot_cache API is unavailable",\n  "message": "LMCache engine not configured."\n}'
    )


@pytest.mark.parametrize(("method", "word"), ROUTES)
def test_engine_that_is_not_ready_yet_is_503(service, method, word):
    engine = service.manager.lmcache_engine
    storage, engine.storage_manager = engine.storage_manager, None
    answer = service.request(method, f"/hot_cache/{word}")
    engine.storage_manager = storage
    assert (answer.status, answer.json()["error"]) == (503, "hot_cache API is unavailable")
    assert "not ready" in answer.json()["message"]
