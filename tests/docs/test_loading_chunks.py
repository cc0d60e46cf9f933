"""The tables of docs/loading-chunks.md against what is served, and its configuration as it stands there."""

import json
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "loading-chunks.md").read_text()


def column(heading):
    """First column of the table below a heading."""
    part = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE)


@pytest.fixture
def answer(serve, tmp_path):
    """What the page's own configuration comes to, with a folder that is there."""
    block = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert block
    (tmp_path / "chunks").mkdir()
    path = tmp_path / "chunks.yaml"
    path.write_text(block[1].replace("/mnt/kv/chunks", f"{tmp_path}/chunks"))
    running = serve(extra={"config_folders": [str(tmp_path)]})
    return running.post("/cache/load-fs-chunks", json.dumps({"config_path": str(path)}))


def test_the_configuration_is_read(answer):
    assert (answer.status, answer.json()["status"], answer.json()["total_files"]) == (200, "success", 0)


def test_each_key_of_the_answer_stands_in_its_table(answer):
    assert column("The answer") == list(answer.json())


def test_each_field_of_the_request_stands_in_its_table(service):
    described = service.get("/openapi.json").json()["components"]["schemas"]["vllm.load_fs_chunks_api.LoadBody"]
    assert column("The request") == list(described["properties"])
    assert described["required"] == ["config_path"]
