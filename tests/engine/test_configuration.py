"""The embedded engine's configuration: LMCache's keys, order, converters and environment."""

from __future__ import annotations

import json
import logging
import math

import pytest

from lmcache_admin.engine import Configuration, ConfigurationError


def convert(key: str, value: object) -> object:
    return Configuration._config_definitions[key]["env_converter"](value)


def test_keys_are_listed_in_the_order_of_lmcache() -> None:
    keys = list(Configuration().to_dict())
    assert len(keys) == 108
    assert keys[:4] == ["chunk_size", "local_cpu", "max_local_cpu_size", "local_cpu_use_hugepages"]
    assert keys[-1] == "hidden_states_retrieve_mode"


def test_each_key_has_type_default_and_converter() -> None:
    definitions = Configuration._config_definitions
    assert definitions["chunk_size"]["type"] is int
    assert definitions["chunk_size"]["default"] == 256
    assert all(set(one) == {"type", "default", "env_converter"} for one in definitions.values())


def test_defaults_are_those_of_lmcache() -> None:
    config = Configuration()
    assert (config.local_cpu, config.max_local_cpu_size, config.local_disk) == (True, 5.0, None)
    assert (config.cache_policy, config.pd_allocation_timeout_sec) == ("LRU", math.inf)


def test_an_instance_id_is_generated_anew_each_time() -> None:
    assert Configuration().lmcache_instance_id != Configuration().lmcache_instance_id


@pytest.mark.parametrize(
    ("key", "given", "expected"),
    [
        ("chunk_size", "7", 7),
        ("chunk_size", True, 1),
        ("chunk_size", 3.9, 3),
        ("max_local_cpu_size", "2.5", 2.5),
        ("app_id", 5, "5"),
        ("app_id", {"a": 1}, "{'a': 1}"),
        ("local_cpu", "TRUE ", True),
        ("local_cpu", 1, True),
        ("local_cpu", "yes", False),
        ("local_cpu", "nonsense", False),
        ("p2p_init_ports", "1, 2", [1, 2]),
        ("p2p_init_ports", 3, [3]),
        ("p2p_init_ports", ["4"], [4]),
        ("blend_thresholds", "0.5,1", [0.5, 1.0]),
        ("nixl_backends", " a ,, b", ["a", "b"]),
        ("nixl_backends", [1], [1]),
        ("runtime_plugin_locations", "a,b", ["a,b"]),
        ("runtime_plugin_locations", "", []),
        ("local_disk", "file:///a/, file:///b", "/a/,/b"),
        ("extra_config", '{"a": 1}', {"a": 1}),
        ("extra_config", "", None),
        ("extra_config", 5, 5),
        ("hidden_states_retrieve_mode", "prefix-strict", "prefix_strict"),
    ],
)
def test_a_converter_does_what_the_contract_says(key: str, given: object, expected: object) -> None:
    assert convert(key, given) == expected


@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("chunk_size", "x"),
        ("chunk_size", [1]),
        ("nixl_backends", 5),
        ("extra_config", "{"),
        ("hidden_states_retrieve_mode", "other"),
    ],
)
def test_a_converter_refuses_what_the_contract_refuses(key: str, given: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        convert(key, given)


def test_the_environment_wins_over_the_file() -> None:
    config = Configuration.from_mapping({"chunk_size": 16}, {"LMCACHE_CHUNK_SIZE": "32"})
    assert config.chunk_size == 32


@pytest.mark.parametrize("text", ["'/data'", '"/data"', " /data "])
def test_quotes_around_an_environment_value_are_taken_off(text: str) -> None:
    assert Configuration.from_mapping({}, {"LMCACHE_LOCAL_DISK": text}).local_disk == "/data"


def test_extra_config_comes_from_the_environment_as_json() -> None:
    config = Configuration.from_mapping({}, {"LMCACHE_EXTRA_CONFIG": json.dumps({"embedded_engine_layers": 3})})
    assert config.get_extra_config_value("embedded_engine_layers") == 3
    assert config.get_extra_config_value("absent", "default") == "default"


@pytest.mark.parametrize(
    ("values", "named", "allowed"),
    [
        ({"chunk_size": "x"}, "chunk_size: 'x'", "a whole number"),
        ({"chunk_size": 0}, "chunk_size: 0", "from 1"),
        ({"chunk_size": True}, "chunk_size: True", "a whole number"),
        ({"chunk_size": 1.5}, "chunk_size: 1.5", "a whole number"),
        ({"local_cpu": "nonsense"}, "local_cpu: 'nonsense'", "true or false"),
        ({"max_local_disk_size": -1}, "max_local_disk_size: -1", "from 0"),
        ({"max_local_cpu_size": float("nan")}, "max_local_cpu_size: nan", "from 0"),
        ({"max_local_cpu_size": 1e300}, "max_local_cpu_size: 1e+300", "a size in GB from 0 to 1000000000"),
        ({"max_local_disk_size": 1e300}, "max_local_disk_size: 1e+300", "a size in GB from 0 to 1000000000"),
        ({"max_local_cpu_size": math.inf}, "max_local_cpu_size: inf", "from 0"),
        ({"cache_policy": "NOPE"}, "cache_policy: 'NOPE'", "LRU, LFU, FIFO, MRU"),
        ({"p2p_init_ports": "1,x"}, "p2p_init_ports: '1,x'", "whole numbers"),
        ({"extra_config": [1]}, "extra_config: a list", "an object"),
        ({"pre_caching_hash_algorithm": "sha256_cbor"}, "pre_caching_hash_algorithm", "builtin"),
    ],
)
def test_a_bad_value_is_refused_with_key_value_and_what_is_allowed(
    values: dict[str, object], named: str, allowed: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Configuration.from_mapping(values, {})
    assert named in str(caught.value)
    assert allowed in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "text", "allowed"),
    [("LMCACHE_CHUNK_SIZE", "abc", "from 1"), ("LMCACHE_LOCAL_CPU", "yes", "true or false")],
)
def test_a_bad_value_of_the_environment_is_refused_with_the_name_of_the_variable(
    variable: str, text: str, allowed: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Configuration.from_mapping({"chunk_size": 16}, {variable: text})
    assert str(caught.value).startswith(f"{variable}: {text!r} is not allowed; allowed: ")
    assert allowed in str(caught.value)


def test_a_bad_value_of_the_file_does_not_matter_when_the_environment_has_another() -> None:
    assert Configuration.from_mapping({"chunk_size": "x"}, {"LMCACHE_CHUNK_SIZE": "32"}).chunk_size == 32


def test_a_bad_extra_config_text_is_not_repeated_since_it_may_hold_secrets() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Configuration.from_mapping({}, {"LMCACHE_EXTRA_CONFIG": '{"token": "hush"'})
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("embedded_engine_layer", 2, "embedded_engine_layers"),
        ("embedded_engine_layers", 0, "from 1"),
        ("embedded_engine_layers", "2", "type int"),
        ("embedded_engine_dtype", "float8", "bfloat16"),
        ("embedded_engine_model_name", "a@b", "without @"),
    ],
)
def test_a_bad_key_of_ours_under_extra_config_is_refused(key: str, value: object, allowed: str) -> None:
    with pytest.raises(ConfigurationError, match=f"extra_config.{key}") as caught:
        Configuration.from_mapping({"extra_config": {key: value}}, {})
    assert allowed in str(caught.value)


def test_an_unknown_key_is_left_out_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        config = Configuration.from_mapping({"nope": 1, "no\nline": 2, "chunk_size": 8}, {})
    assert config.chunk_size == 8
    assert not hasattr(config, "nope")
    (record,) = caplog.records
    assert "'nope'" in record.getMessage()
    assert "\n" not in record.getMessage()


def test_a_former_name_still_sets_its_key() -> None:
    config = Configuration.from_mapping({"plugin_locations": "a"}, {})
    assert config.runtime_plugin_locations == ["a"]


def test_a_null_in_the_file_means_the_default() -> None:
    assert Configuration.from_mapping({"chunk_size": None}, {}).chunk_size == 256


def test_an_attribute_can_be_set_while_running() -> None:
    config = Configuration()
    config.chunk_size = 64
    assert config.to_dict()["chunk_size"] == 64
