"""Settings: what each key takes, where values come from, and what an error says."""

from __future__ import annotations

import json
import pickle
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


TAKEN = [
    (f"{P}enabled", True, "enabled", True),
    (f"{P}enabled", "TRUE", "enabled", True),
    (f"{P}enabled", "0", "enabled", False),
    (f"{P}host", "localhost", "host", "localhost"),
    (f"{P}host", "[::1]", "host", "::1"),
    (f"{P}host", None, "host", "127.0.0.1"),
    (f"{P}port_start", 0, "port_start", 0),
    (f"{P}port_start", 65535, "port_start", 65535),
    (f"{P}port_start", "7000", "port_start", 7000),
    (f"{P}include_index_list", [0, 1], "include_index_list", (0, 1)),
    (f"{P}include_index_list", "0, 2", "include_index_list", (0, 2)),
    (f"{P}include_index_list", 3, "include_index_list", (3,)),
    (f"{P}include_index_list", [], "include_index_list", ()),
    (f"{P}socket_path_prefix", "/run/lmcache/admin", "socket_path_prefix", "/run/lmcache/admin"),
    ("script_allowed_imports", "math, json", "script_allowed_imports", ("math", "json")),
    ("script_allowed_imports", ["math"], "script_allowed_imports", ("math",)),
    ("run_script_api_enabled", True, "run_script_api_enabled", True),
]


@pytest.mark.parametrize(("key", "value", "field", "expected"), TAKEN)
def test_a_key_of_the_top_level_is_read(key: str, value: object, field: str, expected: object) -> None:
    assert getattr(Settings.from_mapping({key: value}, {}), field) == expected


EXTRA_TAKEN = [
    ("auth", "off", "off"),
    ("auth", False, "off"),  # what YAML 1.1 makes of a plain off
    ("auth", "LOCAL", "local"),
    ("local_users", "any", "any"),
    ("allowed_hosts", ["Admin.Example", "b"], ("admin.example", "b")),
    ("allowed_origins", "https://admin.example:8443", ("https://admin.example:8443",)),
    ("socket_mode", 0o660, 0o660),
    ("socket_mode", "0660", 0o660),
    ("socket_mode", "0o640", 0o640),
    ("base_path", "/lmcache/node-1", "/lmcache/node-1"),
    ("config_folders", ["/etc/lmcache/"], ("/etc/lmcache",)),
    ("state_path", "/var/lib/x/../lmcache", "/var/lib/lmcache"),
    ("access_log", "false", False),
    ("log_level", "INFO", "info"),
    ("lane_threads", {"read": 3}, {"light": 2, "read": 3, "change": 4, "job": 4}),
    ("lane_queues", {"job": 0}, {"light": 64, "read": 64, "change": 16, "job": 0}),
    ("deadlines", {"read": 0.5}, {"light": 5, "read": 0.5, "change": 60, "job": 300}),
    ("metrics_host", "0.0.0.0", "0.0.0.0"),
    ("metrics_port_start", 9100, 9100),
]


@pytest.mark.parametrize(("name", "value", "expected"), EXTRA_TAKEN)
def test_a_key_under_extra_config_is_read(name: str, value: object, expected: object) -> None:
    assert getattr(Settings.from_mapping(extra(**{name: value}), {}), name) == expected


REFUSED = [
    (f"{P}port_start", -1, "an integer from 0 to 65535"),
    (f"{P}port_start", 65536, "an integer from 0 to 65535"),
    (f"{P}port_start", "abc", "an integer from 0 to 65535"),
    (f"{P}port_start", 7.5, "an integer from 0 to 65535"),
    (f"{P}port_start", True, "an integer from 0 to 65535"),
    (f"{P}port_start", [6999], "an integer from 0 to 65535"),
    (f"{P}enabled", "yes", "true or false"),
    (f"{P}enabled", 1, "true or false"),
    (f"{P}host", "", "an IP address or a host name"),
    (f"{P}host", "127.0.0", "an IP address or a host name"),
    (f"{P}host", "http://localhost", "an IP address or a host name"),
    (f"{P}host", 8, "an IP address or a host name"),
    (f"{P}include_index_list", ["a"], "a list of integers from 0 to 65535, or null"),
    (f"{P}include_index_list", "0,one", "a list of integers from 0 to 65535, or null"),
    (f"{P}include_index_list", [-1], "a list of integers from 0 to 65535, or null"),
    (f"{P}socket_path_prefix", "", "at most 107 bytes"),
    (f"{P}socket_path_prefix", "/run/folder/", "without a trailing slash"),
    (f"{P}socket_path_prefix", "/run/a\nb", "a path"),
    ("run_script_api_enabled", "on", "true or false"),
    ("script_allowed_imports", [3], "a list of names"),
]


@pytest.mark.parametrize(("key", "value", "allowed"), REFUSED)
def test_a_bad_value_is_named_with_key_and_what_is_allowed(key: str, value: object, allowed: str) -> None:
    error = failure({key: value})
    assert error.key.partition("[")[0] == key
    assert allowed in error.allowed
    assert str(error).endswith(f"is not allowed; allowed: {error.allowed}")


EXTRA_REFUSED = [
    ("auth", "token"),
    ("auth", None.__class__),
    ("local_users", "root"),
    ("allowed_hosts", ["a/b"]),
    ("allowed_hosts", ["admin.example:80"]),
    ("allowed_origins", ["admin.example"]),
    ("allowed_origins", ["https://admin.example/"]),
    ("allowed_origins", ["ftp://admin.example"]),
    ("allowed_origins", ["*"]),
    ("socket_mode", 600),  # decimal: a mode is octal
    ("socket_mode", 0o400),
    ("socket_mode", 0o4755),
    ("socket_mode", "rw"),
    ("base_path", "lmcache"),
    ("base_path", "/lmcache/"),
    ("base_path", "/a/../b"),
    ("base_path", "//evil.example"),
    ("state_path", 8),
    ("state_path", "/a\0b"),
    ("log_level", "loud"),
    ("lane_threads", {"read": 0}),
    ("lane_threads", {"read": 1.5}),
    ("lane_threads", {"reed": 1}),
    ("lane_threads", 8),
    ("lane_queues", {"read": -1}),
    ("deadlines", {"read": 0}),
    ("deadlines", {"read": float("nan")}),
    ("deadlines", {"read": "5"}),
    ("deadlines", {"read": True}),
    ("metrics_port_start", 70000),
    ("access_log", "maybe"),
]


@pytest.mark.parametrize(("name", "value"), EXTRA_REFUSED)
def test_a_bad_value_under_extra_config_is_refused(name: str, value: object) -> None:
    assert failure(extra(**{name: value})).key.startswith(P + name)


def test_the_error_is_the_line_of_the_issue() -> None:
    assert str(failure({f"{P}port_start": -1})) == (
        "internal_api_server_port_start: -1 is not allowed; allowed: an integer from 0 to 65535"
    )


def test_an_item_of_a_list_is_named_by_its_place() -> None:
    error = failure({f"{P}include_index_list": [0, "one"]})
    assert str(error).startswith(f"{P}include_index_list[1]: 'one' is not allowed")


def test_a_lane_is_named_by_its_name() -> None:
    error = failure(extra(lane_threads={"read": -4}))
    assert str(error).startswith(f"{P}lane_threads.read: -4 is not allowed")


@pytest.mark.parametrize("spare", [0, 1])
def test_a_socket_path_may_take_107_bytes_and_no_more(spare: int) -> None:
    prefix = "/" + "s" * (107 - len("/_65535") + spare)
    if spare:
        assert "at most 107 bytes" in failure({f"{P}socket_path_prefix": prefix}).allowed
    else:
        assert Settings.from_mapping({f"{P}socket_path_prefix": prefix}, {}).socket_path_prefix == prefix


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
    made = type("Config", (), {"__module__": "lmcache.v1.config", "internal_api_server_port_start": 7400})()
    environ = {
        "LMCACHE_INTERNAL_API_SERVER_PORT_START": "7500",
        "LMCACHE_INTERNAL_API_SERVER_LOCAL_USERS": "any",
    }
    settings = Settings.from_host(made, environ)
    assert (settings.port_start, settings.local_users) == (7400, "any")


def test_config_folders_default_to_the_folder_of_the_settings_file() -> None:
    settings = Settings.from_mapping({}, {"LMCACHE_CONFIG_FILE": "/etc/lmcache/lmcache.yaml"})
    assert settings.config_folders == ("/etc/lmcache",)


OPEN_HOSTS = ["0.0.0.0", "::", "192.0.2.7", "node-1.example", "::ffff:192.0.2.7"]


@pytest.mark.parametrize("host", OPEN_HOSTS)
@pytest.mark.parametrize("auth", ["local", "off"])
def test_a_listener_beyond_loopback_without_credentials_is_refused(host: str, auth: str) -> None:
    error = failure({f"{P}enabled": True, f"{P}host": host, **extra(auth=auth)})
    assert error.key == f"{P}host"
    for named in (host, f"{P}auth", f"{P}allow_insecure", f"{P}socket_path_prefix"):
        assert named in str(error)


@pytest.mark.parametrize(
    "values",
    [
        {f"{P}host": "127.0.0.2"},
        {f"{P}host": "::1"},
        {f"{P}host": "localhost"},
        {f"{P}host": "0.0.0.0", f"{P}socket_path_prefix": "/run/lmcache/admin"},
        {f"{P}host": "0.0.0.0", **extra(auth="off", allow_insecure=True)},
        extra(auth="off"),
        extra(metrics_host="0.0.0.0"),
    ],
)
def test_the_policy_lets_a_safe_listener_start(values: dict[str, object]) -> None:
    assert Settings.from_mapping({f"{P}enabled": True, **values}, {}).enabled


def test_allow_insecure_does_not_open_the_mode_local() -> None:
    failure({f"{P}enabled": True, f"{P}host": "0.0.0.0", **extra(allow_insecure=True)})


def test_a_server_that_is_off_may_name_any_host() -> None:
    assert Settings.from_mapping({f"{P}host": "0.0.0.0"}, {}).host == "0.0.0.0"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (f"{P}host", "redis://admin:hunter2@store:6379"),
        (f"{P}host", "redis://admin:hun/t@er2@store"),
        (f"{P}state_path", {"password": "hunter2"}),
        (f"{P}token_fiel", "hunter2"),
        (f"{P}log_level", "token=hunter2"),
    ],
)
def test_no_secret_reaches_the_text_of_an_error(key: str, value: object) -> None:
    place = {key: value} if key.endswith("host") else {"extra_config": {key: value}}
    text = str(failure(place))
    assert "hunter2" not in text
    assert "er2@" not in text
    assert "******" in text


def test_a_long_value_is_shortened_in_the_error() -> None:
    assert len(str(failure({f"{P}host": "x" * 100_000}))) < 600


def test_settings_made_by_hand_are_checked_too() -> None:
    with pytest.raises(SettingsError):
        Settings(port_start=-1)
    assert Settings(lane_threads={"read": 1}).lane_threads["job"] == 4


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


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(settings_keys()), junk)
def test_any_value_gives_settings_or_one_line(key: object, value: object) -> None:
    values = {key.name: value} if key.top else {"extra_config": {key.name: value}}
    try:
        Settings.from_mapping(values, {})
    except SettingsError as error:
        assert str(error).isprintable()


@given(st.sampled_from(settings_keys()), st.text())
def test_any_text_of_the_environment_gives_settings_or_one_line(key: object, text: str) -> None:
    try:
        Settings.from_mapping({}, {key.variable: text})
    except SettingsError as error:
        assert str(error).isprintable()
