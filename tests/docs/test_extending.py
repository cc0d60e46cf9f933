"""The example of docs/extending.md, taken from the page as it is."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


@pytest.fixture
def server(serve, tmp_path):
    block = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert block
    folder = tmp_path / "endpoints" / "common"
    folder.mkdir(parents=True)
    (folder / "gc_api.py").write_text(block[1])
    return serve(extra={"blueprint_paths": [str(folder.parent)]})


def test_is_served(server) -> None:
    assert sorted(server.get("/gc").json()) == ["collected", "collections", "uncollectable"]


def test_refuses_what_the_page_says_it_refuses(server) -> None:
    answer = server.get("/gc?generation=7")
    assert answer.status == 422
    assert "generation" in answer.json()["message"]


def test_is_described_and_listed(server) -> None:
    assert server.get("/openapi.json").json()["paths"]["/gc"]["get"]["x-role"] == "viewer"
    assert "GET /gc" in [f"{r['method']} {r['path']}" for r in server.get("/blueprints").json()["routes"]]
