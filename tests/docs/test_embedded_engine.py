"""The example of docs/embedded-engine.md, taken from the page as it is, and the defaults that its tables name."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import lmcache_admin
from lmcache_admin.engine import Configuration
from lmcache_admin.engine.statistics import StatisticsOptions

ROOT = Path(lmcache_admin.__file__).parents[1]
PAGE = (Path(__file__).parents[2] / "docs" / "embedded-engine.md").read_text()


def test_the_example_prints_what_it_says() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == re.findall(r"# (\d+):", program)
    assert done.stderr == ""


@pytest.mark.parametrize("key", ["lookup_timeout_ms", "hit_miss_ratio", "external_lookup_client"])
def test_a_default_of_a_lookup_is_the_one_on_the_page(key: str) -> None:
    (shown,) = re.findall(rf"^\| `{key}` \| (\S+) \|", PAGE, re.MULTILINE)
    assert yaml.safe_load(shown) == getattr(Configuration(), key)


def test_the_defaults_of_the_statistics_are_those_on_the_page() -> None:
    rows = re.findall(r"^\| `(\w+)`(?:, `(\w+)`)? \| `?([^`|,]+)`?(?:, (\S+))? \|", PAGE, re.MULTILINE)
    shown = {name: value for row in rows for name, value in (row[::2], row[1::2]) if name}
    options = StatisticsOptions.of(Configuration(), 256)
    assert yaml.safe_load(shown["mem_bf_expected_chunks"]) == options.expected
    assert yaml.safe_load(shown["mem_bf_false_positive_rate"]) == options.rate
    assert yaml.safe_load(shown["file_rotation_size"]) == options.rotation_size
    assert yaml.safe_load(shown["file_max_count"]) == options.max_files
    assert yaml.safe_load(shown["async_queue_capacity"]) == options.capacity
    for key in ("auto_start_statistics", "auto_exit_timeout_hours", "auto_exit_target_unique_chunks", "strategy"):
        name = f"chunk_statistics_{key}"
        assert yaml.safe_load(shown[name]) == getattr(Configuration(), name)
