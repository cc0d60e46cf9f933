"""The settings file: what is read, what is refused, and how little a hostile file costs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmcache_admin.limited_yaml import Unfit, compose_map
from lmcache_admin.settings import Settings, SettingsError
from lmcache_admin.settings_file import MAX_BYTES, load_settings_file

P = "internal_api_server_"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "lmcache.yaml"


def failure(path: Path, content: str | bytes) -> SettingsError:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SettingsError) as caught:
        load_settings_file(path)
    assert str(caught.value).isprintable()
    return caught.value


def test_a_file_of_engine_and_service_is_read_whole(file: Path) -> None:
    file.write_text(
        "chunk_size: 16\nlocal_cpu: yes\nremote_url: null\n"
        f"{P}enabled: true\n{P}include_index_list: [0, 1]\n"
        f"extra_config:\n  {P}socket_mode: 0660\n  {P}auth: off\n  other: 1.5\n"
    )
    values = load_settings_file(file)
    assert (values["chunk_size"], values["local_cpu"], values["remote_url"]) == (16, True, None)
    settings = Settings.from_mapping(values, {})
    assert (settings.enabled, settings.include_index_list) == (True, (0, 1))
    assert (settings.socket_mode, settings.auth) == (0o660, "off")


@pytest.mark.parametrize("content", ["", "# only a comment\n", "---\n", "\ufeff"])
def test_a_file_without_a_setting_is_an_empty_map(file: Path, content: str) -> None:
    file.write_text(content)
    assert load_settings_file(file) == {}


def test_a_file_that_is_absent_is_named(tmp_path: Path) -> None:
    path = tmp_path / "absent.yaml"
    with pytest.raises(SettingsError) as caught:
        load_settings_file(path)
    assert str(path) in str(caught.value)
    assert "No such file or directory" in str(caught.value)


@pytest.mark.parametrize("path", ["/", "a\0b"])
def test_a_path_that_is_no_file_is_an_error(path: str) -> None:
    with pytest.raises(SettingsError, match="settings file"):
        load_settings_file(path)


UNFIT = [
    ("- a list\n", "it holds a list"),
    ("a text", "it holds a single value"),
    ("42", "it holds a single value"),
    ("a: b: c\n", "line 1, column 5"),
    ("a:\n\t- b\n", "line 2, column 1"),
    ("a: [1, 2\n", "line 2"),
    (b"\xff\xfe\x00", "byte 0 is not UTF-8"),
    ("a: \x01", "control characters"),
    ("a: 1\n---\nb: 2\n", "another document"),
    ("1: one\n", "a key is no text"),
    ("a: 1\nb: 2\na: 3\n", "line 3: the key 'a' stands twice"),
    ("extra_config:\n  a: 1\n  a: 2\n", "line 3: the key 'a' stands twice"),
    ("a: [{b: 1, b: 2}]\n", "stands twice"),
    ("a: &x [1]\nb: *x\n", "line 2: aliases"),
    ("a: &x [*x]\n", "line 1: aliases"),
    ("a: !!python/object/apply:os.system [ls]\n", "could not determine a constructor"),
    ("? [a]\n: 1\n", "a key is no text"),
    ("a: 2026-99-99\n", "month must be in 1..12"),
    ("a: " + "1" * 100_000, "a number has 100000 digits"),
    ("a: " + "1:" * 50_000 + "1", "digits"),
    ("a: 0x" + "f" * 100_000, "digits"),
    ("a: " + "x" * MAX_BYTES, "larger than 1024 KiB"),
    ("".join(f"k{number}: {number}\n" for number in range(70_000)), "more than 10000 nodes"),
    ("[" * 5_000, "line 1"),  # libyaml has a limit of its own since 0.2.6
    ("{a: " * 5_000, "more than 32 levels deep"),
    ("".join(" " * depth + "a:\n" for depth in range(40)), "more than 32 levels deep"),
]


@pytest.mark.parametrize(("content", "reason"), UNFIT, ids=[reason for _, reason in UNFIT])
def test_s61_an_unfit_file_is_refused_with_path_and_reason(file: Path, content: str | bytes, reason: str) -> None:
    error = failure(file, content)
    assert error.key == "settings file"
    assert str(file) in str(error)
    assert reason in str(error)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[" * 5_000, "more than 32 levels deep"),
        ("".join(f"k{number}: {number}\n" for number in range(70_000)), "more than 10000 nodes"),
        ("a: &x [1]\nb: *x\n", "line 2: aliases"),
        ("a: 1\na: 2\n", "stands twice"),
    ],
    ids=["brackets", "keys", "alias", "twice"],
)
def test_s61_the_limits_hold_without_libyaml(content: str, reason: str) -> None:
    with pytest.raises(Unfit, match=reason):
        compose_map(content, yaml.SafeLoader)


def test_s61_a_bomb_of_aliases_is_refused(file: Path) -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 30)]
    assert "aliases" in str(failure(file, "\n".join(lines)))


SURPRISES = [
    (f"{P}port_start: 22:22", "22:22", "1342"),
    (f"{P}port_start: no", "no", "False"),
    (f"{P}port_start: 010", "010", "8"),
    (f"{P}port_start: 0x1F", "0x1F", "31"),
    (f"{P}port_start: 7_000", "7_000", "7000"),
    (f"{P}host: on", "on", "True"),
    (f"{P}host: 2026-11-01", "2026-11-01", "datetime.date(2026, 11, 1)"),
    (f"{P}socket_path_prefix: 1:30", "1:30", "90"),
    (f"{P}include_index_list: [0, 010]", "010", "8"),
    (f"extra_config: {{{P}blueprint_paths: [010]}}", "010", "8"),
    (f"extra_config: {{{P}lane_threads: {{read: 010}}}}", "010", "8"),
    (f"extra_config: {{{P}auth: no}}", "no", "False"),
]


@pytest.mark.parametrize(("content", "written", "read"), SURPRISES)
def test_s61_a_value_that_yaml_reads_otherwise_is_refused(file: Path, content: str, written: str, read: str) -> None:
    text = str(failure(file, content))
    assert f": {written} is not allowed (YAML reads it as {read}" in text


@pytest.mark.parametrize(
    ("content", "named", "helps"),
    [
        (f"extra_config: {{{P}deadlines: {{light: .inf}}}}", f"{P}deadlines.light: .inf", False),
        (f"extra_config: {{{P}deadlines: {{job: 1:30}}}}", f"{P}deadlines.job: 1:30", False),
        (f"{P}include_index_list: [0, 010]", f"{P}include_index_list[1]: 010", True),
        (f"{P}port_start: 22:22", f"{P}port_start: 22:22", False),
        (f"{P}host: no", f"{P}host: no", True),
    ],
)
def test_its_place_is_named_and_quotes_are_advised_where_they_help(
    file: Path, content: str, named: str, helps: bool
) -> None:
    text = str(failure(file, content))
    assert text.startswith(f"{named} is not allowed (YAML reads it as ")
    assert ("quotes make it a text" in text) is helps


def test_a_number_that_begins_with_its_point_is_what_it_says(file: Path) -> None:
    file.write_text(f"extra_config: {{{P}deadlines: {{light: .5}}}}\n")
    assert Settings.from_mapping(load_settings_file(file), {}).deadlines["light"] == 0.5


def test_a_quoted_value_is_the_text_that_it_is(file: Path) -> None:
    file.write_text(f"{P}host: '::1'\n{P}port_start: '7000'\nextra_config: {{{P}blueprint_paths: ['010']}}\n")
    settings = Settings.from_mapping(load_settings_file(file), {})
    assert (settings.host, settings.port_start) == ("::1", 7000)
    assert settings.blueprint_paths[0].endswith("/010")


def test_values_of_the_engine_keep_yaml_s_reading(file: Path) -> None:
    file.write_text("save_decode_cache: no\nsome_number: 010\n")
    assert load_settings_file(file) == {"save_decode_cache": False, "some_number": 8}


@given(st.text(alphabet="a:-[]{}&*!|>'\"#%@`, \n\t0123=?~<", max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_s61_any_text_gives_a_map_or_one_line(file: Path, content: str) -> None:
    file.write_text(content)
    assert outcome(file).isprintable()


def outcome(file: Path) -> str:
    try:
        return type(load_settings_file(file)).__name__
    except SettingsError as error:
        return str(error)
