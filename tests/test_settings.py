"""Settings: what each key takes, where values come from, and what an error says."""

from __future__ import annotations

import json
import pickle
from types import SimpleNamespace

import pytest

from lmcache_admin.settings import Settings, SettingsError, settings_keys

P = "internal_api_server_"


def extra(**values: object) -> dict[str, object]:
    return {"extra_config": {P + name: value for name, value in values.items()}}


def failure(values: object, environ: dict[str, str] | None = None) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        Settings.from_mapping(values, environ or {})
    assert "\n" not in str(caught.value)
    return caught.value


def test_defaults_are_those_of_the_contract() -> None:
    settings = Settings.from_mapping({}, {})
    assert settings.enabled is False
    assert (settings.host, settings.port_start) == ("127.0.0.1", 6999)
    assert settings.include_index_list is None
    assert settings.socket_path_prefix is None
    assert settings.script_allowed_imports == ()
    assert settings.run_script_api_enabled is False
    assert (settings.access_log, settings.log_level) == (True, "warning")


def test_defaults_of_our_own_are_safe() -> None:
    settings = Settings.from_mapping({}, {})
    assert (settings.auth, settings.allow_insecure, settings.local_users) == ("local", False, "own")
    assert settings.socket_mode == 0o600
    assert settings.lane_threads == {"light": 2, "read": 8, "change": 4, "job": 4}
    assert settings.lane_queues == {"light": 64, "read": 64, "change": 16, "job": 16}
    assert settings.deadlines == {"light": 5, "read": 5, "change": 60, "job": 300}


def test_the_error_is_the_line_of_the_issue() -> None:
    assert str(failure({f"{P}port_start": -1})) == (
        "internal_api_server_port_start: -1 is not allowed; allowed: an integer from 1 to 65535"
    )


def test_an_item_of_a_list_is_named_by_its_place() -> None:
    error = failure({f"{P}include_index_list": [0, "one"]})
    assert str(error).startswith(f"{P}include_index_list[1]: 'one' is not allowed")


def test_a_lane_is_named_by_its_name() -> None:
    error = failure(extra(lane_threads={"read": -4}))
    assert str(error).startswith(f"{P}lane_threads.read: -4 is not allowed")


def test_an_unknown_key_of_ours_is_refused_with_the_nearest() -> None:
    error = failure(extra(alowed_hosts=[]))
    assert error.key == f"{P}alowed_hosts"
    assert f"{P}allowed_hosts" in error.allowed


@pytest.mark.parametrize(
    ("values", "place"),
    [({f"{P}auth": "off"}, "under extra_config"), (extra(port_start=7000), "at the top level")],
)
def test_a_key_in_the_wrong_place_is_refused_with_its_place(values: dict[str, object], place: str) -> None:
    assert place in failure(values).allowed


def test_a_key_of_the_engine_passes() -> None:
    Settings.from_mapping({"chunk_size": "anything", "extra_config": {"save_only_first_rank": 1}}, {})


@pytest.mark.parametrize("value", [["a"], "text", 3])
def test_extra_config_that_is_no_map_is_refused(value: object) -> None:
    assert failure({"extra_config": value}).key == "extra_config"


def test_the_environment_wins_over_the_file() -> None:
    environ = {
        "LMCACHE_INTERNAL_API_SERVER_PORT_START": "'7100'",
        "LMCACHE_INTERNAL_API_SERVER_LOCAL_USERS": "any",
        "LMCACHE_INTERNAL_API_SERVER_DEADLINES": '{"job": 9}',
        "LMCACHE_INTERNAL_API_SERVER_INCLUDE_INDEX_LIST": "0,1",
        "LMCACHE_RUN_SCRIPT_API_ENABLED": "1",
    }
    settings = Settings.from_mapping({f"{P}port_start": 7000, **extra(local_users="own")}, environ)
    assert (settings.port_start, settings.local_users, settings.deadlines["job"]) == (7100, "any", 9)
    assert (settings.include_index_list, settings.run_script_api_enabled) == ((0, 1), True)


def test_an_empty_variable_counts_as_not_set() -> None:
    settings = Settings.from_mapping({f"{P}port_start": 7000}, {"LMCACHE_INTERNAL_API_SERVER_PORT_START": ""})
    assert settings.port_start == 7000


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("LMCACHE_INTERNAL_API_SERVER_PORT_START", "22:22"),
        ("LMCACHE_INTERNAL_API_SERVER_PORT_START", "0"),
        ("LMCACHE_INTERNAL_API_SERVER_ENABLED", "yes"),
        ("LMCACHE_INTERNAL_API_SERVER_LANE_THREADS", "read=3"),
        ("LMCACHE_INTERNAL_API_SERVER_LANE_THREADS", "[" * 100_000),
        ("LMCACHE_EXTRA_CONFIG", "{"),
        ("LMCACHE_EXTRA_CONFIG", "[]"),
    ],
)
def test_a_bad_variable_is_named(variable: str, text: str) -> None:
    assert f"(from {variable})" in str(failure({}, {variable: text}))


def test_extra_config_of_the_environment_replaces_that_of_the_file() -> None:
    environ = {"LMCACHE_EXTRA_CONFIG": json.dumps({f"{P}read_only": True})}
    settings = Settings.from_mapping(extra(local_users="any"), environ)
    assert (settings.read_only, settings.local_users) == (True, "own")


def test_a_variable_that_is_nearly_ours_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    service_link = {"LMCACHE_INTERNAL_API_SERVER_PORT": "tcp://192.0.2.1:80"}
    Settings.from_mapping({}, {"LMCACHE_INTERNAL_API_SERVER_PORT_STRAT": "1", **service_link})
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "LMCACHE_INTERNAL_API_SERVER_PORT_START" in caplog.text


def test_a_host_object_is_read_by_its_attributes() -> None:
    config = SimpleNamespace(
        internal_api_server_enabled=True,
        internal_api_server_port_start=7200,
        internal_api_server_include_index_list=None,
        extra_config={f"{P}local_users": "any", "other": 1},
    )
    settings = Settings.from_host(config, {})
    assert (settings.enabled, settings.port_start, settings.local_users) == (True, 7200, "any")
    assert settings.host == "127.0.0.1"


def test_a_host_without_any_of_our_attributes_has_the_defaults() -> None:
    assert Settings.from_host(object(), {}) == Settings()


def test_the_environment_wins_over_a_host_object() -> None:
    config = SimpleNamespace(internal_api_server_port_start=7200, extra_config=None)
    assert Settings.from_host(config, {"LMCACHE_INTERNAL_API_SERVER_PORT_START": "7300"}).port_start == 7300


def test_a_bad_value_of_a_host_object_is_an_error() -> None:
    with pytest.raises(SettingsError, match="port_start: -1 is not allowed"):
        Settings.from_host(SimpleNamespace(internal_api_server_port_start=-1), {})


def test_what_lmcache_made_of_its_environment_is_not_made_again() -> None:
    # vLLM's connector may override a key after LMCache applied the environment: the object is the last word
    # (that class is made at run time and names `types` as its module; it is known by what it does)
    own = {"internal_api_server_port_start": 7400, "update_config_from_env": lambda self: self}
    made = type("LMCacheEngineConfig", (), own)()
    environ = {
        "LMCACHE_INTERNAL_API_SERVER_PORT_START": "7500",
        "LMCACHE_INTERNAL_API_SERVER_LOCAL_USERS": "any",
    }
    settings = Settings.from_host(made, environ)
    assert (settings.port_start, settings.local_users) == (7400, "any")


def test_config_folders_default_to_the_folder_of_the_settings_file() -> None:
    settings = Settings.from_mapping({}, {"LMCACHE_CONFIG_FILE": "/etc/lmcache/lmcache.yaml"})
    assert settings.config_folders == ("/etc/lmcache",)


def test_settings_made_by_hand_are_checked_too() -> None:
    with pytest.raises(SettingsError):
        Settings(port_start=-1)
    assert Settings(lane_threads={"read": 1}).lane_threads["job"] == 4


@pytest.mark.parametrize(("name", "number"), [("trace", 5), ("debug", 10), ("warning", 30), ("critical", 50)])
def test_the_log_level_is_a_number_for_logging(name: str, number: int) -> None:
    assert Settings(log_level=name).log_level_number == number


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Settings().port_start = 1
    with pytest.raises(TypeError):
        Settings().lane_threads["read"] = 100


def test_an_error_survives_pickling() -> None:
    error = failure({f"{P}port_start": -1})
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - our own bytes


def test_every_key_has_meaning_kind_and_variable() -> None:
    keys = settings_keys()
    assert len({key.name for key in keys}) == len(keys)
    assert len({key.variable for key in keys}) == len(keys)
    for key in keys:
        assert key.meaning
        assert key.kind.allowed
        assert key.name.startswith(P) or key.top


def test_every_default_is_allowed_by_its_own_kind() -> None:
    for key in settings_keys():
        assert key.default is None or key.kind.read(key.default) == key.default
