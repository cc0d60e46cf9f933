"""The tables of docs/stores.md against the code, and its configuration as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from lmcache_admin.engine import Configuration, StorageError
from lmcache_admin.engine.chunks import Layout
from lmcache_admin.engine.remote import open_store
from lmcache_admin.engine.remote.address import SCHEMES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "stores.md").read_text()
LAYOUT = Layout(2, 2, 64, "half")


def test_the_configuration_is_read() -> None:
    block = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert block
    config = Configuration.from_mapping(yaml.safe_load(block[1]), {})
    assert open_store(config, LAYOUT).place == "redis://***@cache.example:6379/0"


def test_every_scheme_stands_in_the_table_and_no_other() -> None:
    table = PAGE.partition("| `remote_url` |")[2].partition("\n\n")[0]
    assert set(re.findall(r"([a-z0-9]+)://", table)) == set(SCHEMES)


def test_every_extra_that_the_page_names_is_one_of_the_package() -> None:
    named = set(re.findall(r"`lmcache-admin\[(\w+)\]`", PAGE))
    offered = re.search(r"extras_require=\{(.*?)\}", (ROOT / "setup.py").read_text())
    assert offered
    assert named == {"redis", "objects", "gcs"}
    assert named <= set(re.findall(r'"(\w+)":', offered[1]))


@pytest.mark.parametrize("scheme", ["valkey", "resp", "s3", "gs"])
def test_payloads_alone_are_not_to_have_headers(scheme: str) -> None:
    values = {"remote_url": f"{scheme}://a.b:1", "extra_config": {"save_chunk_meta": True}}
    with pytest.raises(StorageError, match="must be false"):
        open_store(Configuration.from_mapping(values, {}), LAYOUT)
