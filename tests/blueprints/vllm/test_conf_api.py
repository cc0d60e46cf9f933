"""GET and POST /conf, GET /meta."""

import json
from pathlib import Path

import pytest

IMMUTABLE = "Config is not mutable at runtime"
UNKNOWN = "Unknown config"
FAILED = "Failed to set config value"
TEXT = "text/plain; charset=utf-8"


def change(running, body, content_type="application/json"):
    return running.post("/conf", body if isinstance(body, (bytes, str)) else json.dumps(body), content_type)


def value(running, key):
    return running.get(f"/conf?names={key}").json()[key]


def test_configuration_is_pretty_json_sent_as_text_in_the_order_of_definition(service):
    answer = service.get("/conf")
    assert (answer.status, answer.type) == (200, TEXT)
    assert answer.text.startswith('{\n  "chunk_size": 16,\n  "local_cpu": true,\n  "max_local_cpu_size": 0.05,\n')
    assert {"remote_url", "extra_config", "internal_api_server_enabled", "cache_policy"} <= set(answer.json())


def test_infinity_is_printed_as_the_contract_has_it(service):
    assert '"pd_allocation_timeout_sec": Infinity' in service.get("/conf").text


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("local_cpu,chunk_size", '{\n  "local_cpu": true,\n  "chunk_size": 16\n}'),
        ("chunk_size,nope", '{\n  "chunk_size": 16\n}'),
        ("nope", "{}"),
        (",,", "{}"),
        ("%20chunk_size", "{}"),
        ("to_dict,validate,_user_set_keys,__class__,get_extra_config_value", "{}"),
        ("local_cpu&names=chunk_size", '{\n  "chunk_size": 16\n}'),
    ],
)
def test_named_keys_come_in_the_order_asked_and_others_are_left_out(service, names, expected):
    answer = service.get(f"/conf?names={names}")
    assert (answer.status, answer.type, answer.text) == (200, TEXT, expected)


def test_empty_names_count_as_absent(service):
    assert service.get("/conf?names=").body == service.get("/conf").body


def test_key_and_value_as_parameters_set_nothing(service):
    answer = service.get("/conf?key=chunk_size&value=99")
    assert answer.status == 200
    assert answer.json()["chunk_size"] == 16


def test_scheduler_shows_its_configuration(serve):
    assert value(serve(role="scheduler"), "chunk_size") == 16


@pytest.mark.parametrize(
    ("key", "given", "stored"),
    [
        ("chunk_size", 5, 5),
        ("chunk_size", "7", 7),
        ("min_retrieve_tokens", 3.0, 3),
        ("max_local_cpu_size", "1.5", 1.5),
        ("max_local_cpu_size", 2, 2.0),
        ("cache_policy", "LFU", "LFU"),
        ("local_cpu", False, False),
        ("local_cpu", "TRUE ", True),
        ("local_cpu", 0, False),
        ("local_cpu", "1", True),
        ("blend_recompute_ratios", [0.5, 1], [0.5, 1.0]),
        ("blend_recompute_ratios", "0.5,1", [0.5, 1.0]),
        ("retrieve_locations", "LocalCPUBackend, LocalDiskBackend", ["LocalCPUBackend", "LocalDiskBackend"]),
        ("retrieve_locations", None, None),
    ],
)
def test_good_value_is_set_and_reported(service, key, given, stored):
    answer = change(service, {key: given})
    assert (answer.status, answer.type, answer.json()) == (200, "application/json", {"updated": {key: stored}})
    assert value(service, key) == stored


@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("chunk_size", '"x"'),
        ("chunk_size", "[1]"),
        ("chunk_size", "3.9"),
        ("chunk_size", "null"),
        ("chunk_size", "NaN"),
        ("chunk_size", "{}"),
        ("max_local_cpu_size", "NaN"),
        ("max_local_cpu_size", "Infinity"),
        ("max_local_cpu_size", '"inf"'),
        ("max_local_cpu_size", "1e999"),
        ("blend_recompute_ratios", "[0.5, NaN]"),
        ("blend_recompute_ratios", '"0.5,inf"'),
        ("local_cpu", '"nonsense"'),
        ("local_cpu", '"yes"'),
        ("local_cpu", "2"),
        ("local_cpu", "null"),
        ("local_cpu", "[]"),
        ("retrieve_locations", "5"),
        ("hidden_states_retrieve_mode", '"nope"'),
    ],
)
def test_s20_value_that_does_not_fit_its_key_is_refused_and_the_old_one_stays(service, key, given):
    before = value(service, key)
    answer = change(service, f'{{"{key}": {given}}}')
    assert (answer.status, answer.json()) == (400, {"updated": {}, "errors": {key: FAILED}})
    assert value(service, key) == before


@pytest.mark.parametrize(
    "key",
    [
        "internal_api_server_enabled",
        "internal_api_server_host",
        "internal_api_server_port_start",
        "internal_api_server_socket_path_prefix",
        "internal_api_server_no_such_key",
        "run_script_api_enabled",
        "script_allowed_imports",
        "extra_config",
        "remote_url",
        "local_disk",
        "remote_storage_plugins",
        "runtime_plugin_locations",
        "gds_path",
    ],
)
def test_s20_key_that_decides_who_may_what_or_holds_a_place_is_not_mutable(service, key):
    before = service.get("/conf").json()
    answer = change(service, {key: "x"})
    assert (answer.status, answer.json()) == (400, {"updated": {}, "errors": {key: IMMUTABLE}})
    assert service.get("/conf").json() == before


def test_s20_no_key_whose_name_says_url_path_or_plugin_can_be_set(service):
    keys = [k for k in service.get("/conf").json() if k.endswith(("_url", "_path")) or "plugin" in k]
    errors = change(service, dict.fromkeys(keys, "x")).json()["errors"]
    assert errors == dict.fromkeys(keys, IMMUTABLE)


def test_s20_some_good_and_some_bad_is_200_and_the_good_ones_stay(service):
    answer = change(service, {"chunk_size": "x", "min_retrieve_tokens": 4, "nope": 1, "remote_url": "redis://x"})
    assert (answer.status, answer.type) == (200, "application/json")
    assert answer.text == (
        '{"updated":{"min_retrieve_tokens":4},'
        f'"errors":{{"chunk_size":"{FAILED}","nope":"{UNKNOWN}","remote_url":"{IMMUTABLE}"}}}}'
    )
    assert value(service, "min_retrieve_tokens") == 4


def test_empty_object_changes_nothing(service):
    answer = change(service, "{}")
    assert (answer.status, answer.text) == (200, '{"updated":{}}')


def test_only_unknown_keys_is_400(service):
    answer = change(service, '{"to_dict": 1, "": 2}')
    assert (answer.status, answer.json()) == (400, {"updated": {}, "errors": {"to_dict": UNKNOWN, "": UNKNOWN}})


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "image/png"])
def test_content_type_is_not_looked_at(service, content_type):
    assert change(service, {"min_retrieve_tokens": 8}, content_type).json() == {"updated": {"min_retrieve_tokens": 8}}


def test_byte_order_mark_is_accepted(service):
    assert change(service, b'\xef\xbb\xbf{"min_retrieve_tokens": 8}').status == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Expecting value: line 1 column 1 (char 0)"),
        (b"nope", "Expecting value: line 1 column 1 (char 0)"),
        (b'{"a": }', "Expecting value: line 1 column 7 (char 6)"),
    ],
)
def test_body_that_is_no_json_is_400_with_the_decoders_text(service, body, message):
    answer = change(service, body)
    assert (answer.status, answer.json()) == (400, {"error": "Invalid JSON body", "message": message})


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfe\x00",
        b'{"chunk_size": 1, "chunk_size": 2}',
        b'{"a": "\\ud800"}',
        b'{"min_retrieve_tokens": 18446744073709551616}',
        b'{"min_retrieve_tokens": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 90 + b"1" + b"}" * 90,
    ],
)
def test_body_that_readers_disagree_about_is_400(service, body):
    answer = change(service, body)
    assert (answer.status, answer.json()["error"]) == (400, "Invalid JSON body")
    assert value(service, "chunk_size") == 16


@pytest.mark.parametrize("body", ["[]", "null", '"text"', "5", "true"])
def test_json_that_is_no_object_is_400(service, body):
    answer = change(service, body)
    assert (answer.status, answer.text) == (400, '{"error":"Request body must be a JSON object"}')


def test_metadata_is_sorted_pretty_json_sent_as_text(service):
    answer = service.get("/meta")
    assert (answer.status, answer.type) == (200, TEXT)
    shown = answer.json()
    assert list(shown) == sorted(shown)
    assert (shown["role"], shown["worker_id"], shown["chunk_size"]) == ("worker", 0, 16)
    assert shown["kv_dtype"] == "torch.float16"
    assert isinstance(shown["kv_shape"], list)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("worker_id,role", '{\n  "worker_id": 0,\n  "role": "worker"\n}'),
        ("role,nope,__class__,describe", '{\n  "role": "worker"\n}'),
        ("__dict__", "{}"),
    ],
)
def test_named_metadata_comes_in_the_order_asked(service, names, expected):
    assert service.get(f"/meta?names={names}").text == expected


def test_manager_without_metadata_shows_an_empty_object(service):
    service.manager.lmcache_engine_metadata = None
    answer = service.get("/meta")
    assert (answer.status, answer.type, answer.text) == (200, TEXT, "{}")


def test_path_in_metadata_is_printed(service):
    service.manager.lmcache_engine_metadata.engine_id = Path("/run/engine")
    assert service.get("/meta?names=engine_id").json() == {"engine_id": "/run/engine"}


@pytest.mark.parametrize("value", ["1.0", "0.0", "2", "[true]"])
def test_number_that_is_no_switch_leaves_the_switch_alone(service, value):
    answer = service.post("/conf", f'{{"local_cpu": {value}}}')
    assert (answer.status, answer.json()["errors"]) == (400, {"local_cpu": "Failed to set config value"})
    assert service.get("/conf?names=local_cpu").json() == {"local_cpu": True}
