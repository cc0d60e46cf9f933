"""The oddities of LMCache's server: each stands in docs/migrating.md, and what is done about it is held by a test."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "migrating.md").read_text()
QUIRKS = yaml.safe_load((Path(__file__).parent / "quirks.yaml").read_text())
TABLE = PAGE[PAGE.index("## The oddities of LMCache's server") :]
ROWS = {int(number): cells.split(" | ") for number, cells in re.findall(r"^\| (\d+) \| (.*) \|$", TABLE, re.MULTILINE)}
HELD = [(number, test) for number, tests in QUIRKS.items() if isinstance(tests, list) for test in tests]


@cache
def functions(pattern: str) -> set[str]:
    """Names of the tests in the files of a pattern."""
    nodes = [node for path in ROOT.glob(pattern) for node in ast.walk(ast.parse(path.read_text()))]
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_each_of_the_24_has_its_row_and_its_tests():
    assert list(ROWS) == list(QUIRKS) == list(range(1, 25))


@pytest.mark.parametrize("number", range(1, 25))
def test_a_row_says_what_lmcache_does_what_we_do_and_why(number):
    theirs, ours, why = ROWS[number]
    assert theirs.strip()
    assert ours.strip()
    assert why.strip()
    assert ("not served by this package yet" in ours) is isinstance(QUIRKS[number], dict)


@pytest.mark.parametrize(("number", "test"), HELD)
def test_what_holds_it_is_there(number, test):
    pattern, _, name = test.partition("::")
    assert name in functions(pattern)


SECRET = "hunter2-8fJq2LwXz9Rt"


def test_4_no_route_shows_a_secret(serve, monkeypatch):
    monkeypatch.setenv("QUIRK_FOUR_PASSWORD", SECRET)
    running = serve(remote_url=None, extra_config={"remote_password": SECRET})
    running.manager.get_inference_info = lambda: {"vllm_config": f"model='m', hf_token='{SECRET}'", "api_key": SECRET}
    metadata = running.manager.lmcache_engine_metadata
    metadata.kv_connector_extra_config = {"redis_url": f"redis://user:{SECRET}@host:6379"}
    for path in ("/env", "/conf", "/meta", "/inference_info", "/conf?names=extra_config"):
        answer = running.get(path)
        assert answer.status == 200
        assert SECRET not in answer.text
        assert "******" in answer.text, path


@pytest.fixture
def passed_over(serve, stand_in):
    """A host with two backends, of which the one on disk cannot be cleared."""
    manager, _ = stand_in()
    storage = manager.lmcache_engine.storage_manager
    storage.storage_backends = {"LocalCPUBackend": SimpleNamespace(clear=None), "LocalDiskBackend": SimpleNamespace()}
    return serve(manager)


def test_9_clearing_names_the_backends_that_it_passes_over(passed_over):
    answer = passed_over.delete("/cache/clear")
    assert answer.json() == {"status": "success", "num_removed": 0, "skipped_backends": ["LocalDiskBackend"]}
    answer = passed_over.delete("/cache/clear?locations=LocalDiskBackend")
    assert answer.json()["skipped_backends"] == ["LocalDiskBackend"]


def test_9_clearing_of_one_backend_names_no_other(passed_over):
    answer = passed_over.delete("/cache/clear?locations=LocalCPUBackend&locations=nowhere")
    assert answer.json() == {"status": "success", "num_removed": 0}


def test_11_retrieving_into_live_slots_is_for_operators_and_the_page_warns(service):
    routes = {f"{route['method']} {route['path']}": route for route in service.get("/blueprints").json()["routes"]}
    assert routes["POST /cache/retrieve"]["role"] == "operator"
    assert "live" in service.get("/openapi.json").json()["paths"]["/cache/retrieve"]["post"]["summary"]
    warning = (ROOT / "docs" / "embedding.md").read_text()
    assert "Retrieving by hand (`POST /cache/retrieve`) writes into the live slots" in warning
