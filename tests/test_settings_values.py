"""Values of the settings: what every key takes, and what it refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmcache_admin.settings import Settings, SettingsError, settings_keys
from lmcache_admin.settings_keys import Key

P = "internal_api_server_"


def extra(**values: object) -> dict[str, object]:
    return {"extra_config": {P + name: value for name, value in values.items()}}


def failure(values: object) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        Settings.from_mapping(values, {})
    assert "\n" not in str(caught.value)
    return caught.value


TAKEN = [
    (f"{P}enabled", True, "enabled", True),
    (f"{P}enabled", "TRUE", "enabled", True),
    (f"{P}enabled", "0", "enabled", False),
    (f"{P}host", "localhost", "host", "localhost"),
    (f"{P}host", "[::1]", "host", "::1"),
    (f"{P}host", None, "host", "127.0.0.1"),
    (f"{P}port_start", 1, "port_start", 1),
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
    ("config_folders", ["/etc/lmcache/"], ("/etc/lmcache",)),
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
    (f"{P}port_start", 0, "an integer from 1 to 65535"),
    (f"{P}port_start", -1, "an integer from 1 to 65535"),
    (f"{P}port_start", 65536, "an integer from 1 to 65535"),
    (f"{P}port_start", "abc", "an integer from 1 to 65535"),
    (f"{P}port_start", 7.5, "an integer from 1 to 65535"),
    (f"{P}port_start", True, "an integer from 1 to 65535"),
    (f"{P}port_start", [6999], "an integer from 1 to 65535"),
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
    ("auth", "basic"),
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
    ("metrics_port_start", 0),
    ("metrics_port_start", 70000),
    ("access_log", "maybe"),
]


@pytest.mark.parametrize(("name", "value"), EXTRA_REFUSED)
def test_a_bad_value_under_extra_config_is_refused(name: str, value: object) -> None:
    assert failure(extra(**{name: value})).key.startswith(P + name)


@pytest.mark.parametrize("spare", [0, 1])
def test_a_socket_path_may_take_107_bytes_and_no_more(spare: int) -> None:
    prefix = "/" + "s" * (107 - len("/_65535") + spare)
    if spare:
        assert "at most 107 bytes" in failure({f"{P}socket_path_prefix": prefix}).allowed
    else:
        assert Settings.from_mapping({f"{P}socket_path_prefix": prefix}, {}).socket_path_prefix == prefix


def complaint(values: dict[str, object], environ: dict[str, str]) -> str:
    try:
        Settings.from_mapping(values, environ)
    except SettingsError as error:
        return str(error)
    return ""


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(settings_keys()), junk)
def test_any_value_gives_settings_or_one_line(key: Key, value: object) -> None:
    values = {key.name: value} if key.top else {"extra_config": {key.name: value}}
    assert complaint(values, {}).isprintable()


@given(st.sampled_from(settings_keys()), st.text())
def test_any_text_of_the_environment_gives_settings_or_one_line(key: Key, text: str) -> None:
    assert complaint({}, {key.variable: text}).isprintable()
