"""Settings of chunk statistics: what is refused, when, and in which words."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lmcache_admin.engine import Configuration, ConfigurationError, Manager
from lmcache_admin.engine.statistics import StatisticsOptions

P = "chunk_statistics_"
BAD = [
    ({f"{P}strategy": "other"}, f"{P}strategy", "memory_bloom_filter, file_hash"),
    ({f"{P}auto_exit_timeout_hours": -1}, f"{P}auto_exit_timeout_hours", "hours from 0"),
    ({f"{P}auto_exit_timeout_hours": float("inf")}, f"{P}auto_exit_timeout_hours", "hours from 0"),
    ({f"{P}auto_exit_target_unique_chunks": -1}, f"{P}auto_exit_target", "a number from 0"),
    ({"extra_config": {f"{P}mem_bf_expected_chunks": 0}}, "mem_bf_expected_chunks", "from 1"),
    ({"extra_config": {f"{P}mem_bf_expected_chunks": True}}, "mem_bf_expected_chunks", "from 1"),
    ({"extra_config": {f"{P}mem_bf_expected_chunks": "5"}}, "mem_bf_expected_chunks", "from 1"),
    ({"extra_config": {f"{P}mem_bf_expected_chunks": 10**9}}, "mem_bf_expected_chunks", "1073741824 bytes at most"),
    ({"extra_config": {f"{P}mem_bf_false_positive_rate": 0}}, "mem_bf_false_positive_rate", "between 0 and 1"),
    ({"extra_config": {f"{P}mem_bf_false_positive_rate": 1.0}}, "mem_bf_false_positive_rate", "between 0 and 1"),
    ({"extra_config": {f"{P}mem_bf_false_positive_rate": float("nan")}}, "mem_bf_false", "between 0 and 1"),
    ({"extra_config": {f"{P}file_rotation_size": 100}}, "file_rotation_size", "bytes from 4096"),
    ({"extra_config": {f"{P}file_max_count": 0}}, "file_max_count", "from 1"),
    ({"extra_config": {f"{P}file_output_dir": ""}}, "file_output_dir", "path of a folder"),
    ({"extra_config": {f"{P}async_queue_capacity": 0}}, "async_queue_capacity", "from 1"),
]


@pytest.mark.parametrize(("values", "key", "allowed"), BAD, ids=str)
def test_a_bad_value_is_refused_at_the_start_where_statistics_are_wanted(
    values: dict[str, object], key: str, allowed: str
) -> None:
    with pytest.raises(ConfigurationError, match=key) as caught:
        Configuration.from_mapping({"enable_chunk_statistics": True, **values}, {})
    assert allowed in str(caught.value)
    Configuration.from_mapping(values, {})  # nobody uses it


def test_a_value_that_was_set_later_is_refused_by_the_next_client(make_manager: Callable[..., Manager]) -> None:
    manager = make_manager("scheduler", enable_chunk_statistics=True)
    client = manager.lookup_client
    for key, value in [("strategy", "other"), ("auto_exit_timeout_hours", float("nan"))]:
        good = getattr(manager.config, f"{P}{key}")
        setattr(manager.config, f"{P}{key}", value)
        assert f"{P}{key}" in manager.create_lookup_client(dryrun=True)["error"]
        assert f"{P}{key}" in manager.recreate_lookup_client()["error"]
        setattr(manager.config, f"{P}{key}", good)
    assert manager.lookup_client is client


def test_defaults_are_those_of_lmcache_and_null_stands_for_them() -> None:
    config = Configuration()
    for key in ("strategy", "auto_exit_timeout_hours", "auto_exit_target_unique_chunks"):
        setattr(config, f"{P}{key}", None)
    options = StatisticsOptions.of(config, 256)
    assert (options.strategy, options.timeout, options.target) == ("memory_bloom_filter", 0, 0)
    assert (options.expected, options.rate, options.capacity) == (20_000_000, 0.01, 100_000)
    assert (options.rotation_size, options.max_files) == (104_857_600, 100)
    assert options.folder.endswith("/chunk_hashes")
