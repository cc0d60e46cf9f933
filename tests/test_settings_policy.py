"""Policy of the settings: who may be let in by a start, and what an error may not tell."""

from __future__ import annotations

import pytest

from lmcache_admin.settings import PolicyError, Settings, SettingsError

P = "internal_api_server_"


def extra(**values: object) -> dict[str, object]:
    return {"extra_config": {P + name: value for name, value in values.items()}}


def failure(values: object) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        Settings.from_mapping(values, {})
    assert "\n" not in str(caught.value)
    return caught.value


OPEN_HOSTS = ["0.0.0.0", "::", "192.0.2.7", "node-1.example", "::ffff:192.0.2.7"]


@pytest.mark.parametrize("host", OPEN_HOSTS)
@pytest.mark.parametrize("auth", ["local", "off"])
def test_s1_a_listener_beyond_loopback_without_credentials_is_refused(host: str, auth: str) -> None:
    error = failure({f"{P}enabled": True, f"{P}host": host, **extra(auth=auth)})
    assert isinstance(error, PolicyError)
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
def test_s1_the_policy_lets_a_safe_listener_start(values: dict[str, object]) -> None:
    assert Settings.from_mapping({f"{P}enabled": True, **values}, {}).enabled


def test_s1_allow_insecure_does_not_open_the_mode_local() -> None:
    failure({f"{P}enabled": True, f"{P}host": "0.0.0.0", **extra(allow_insecure=True)})


def test_a_server_that_is_off_may_name_any_host() -> None:
    assert Settings.from_mapping({f"{P}host": "0.0.0.0"}, {}).host == "0.0.0.0"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (f"{P}host", "redis://admin:hunter2@store:6379"),
        (f"{P}host", "redis://admin:hun/t@er2@store"),
        (f"{P}blueprint_paths", {"password": "hunter2"}),
        (f"{P}token_fiel", "hunter2"),
        (f"{P}log_level", "token=hunter2"),
    ],
)
def test_s24_no_secret_reaches_the_text_of_an_error(key: str, value: object) -> None:
    place = {key: value} if key.endswith("host") else {"extra_config": {key: value}}
    text = str(failure(place))
    assert "hunter2" not in text
    assert "er2@" not in text
    assert "******" in text


def test_a_long_value_is_shortened_in_the_error() -> None:
    assert len(str(failure({f"{P}host": "x" * 100_000}))) < 600
