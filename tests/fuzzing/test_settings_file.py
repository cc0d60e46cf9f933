"""Settings files: whatever stands in one, it is read as it says or refused in one line (S61)."""

from __future__ import annotations

import contextlib

import pytest
import yaml
from fuzzed import fuzzed, tried
from hypothesis import given
from hypothesis import strategies as st

from lmcache_admin.limited_yaml import MAX_DEPTH, Unfit, compose_map, construct
from lmcache_admin.settings import Settings, SettingsError, settings_keys
from lmcache_admin.settings_file import load_settings_file

KEYS = st.sampled_from([key.name for key in settings_keys()])
SCALARS = st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats() | st.text(max_size=12)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
MAPS = st.dictionaries(KEYS | st.text(max_size=6), VALUES, max_size=5)
WRITTEN = st.tuples(MAPS, MAPS).map(lambda two: yaml.safe_dump({**two[0], "extra_config": two[1]}))
#: Pieces that mean something to a parser of YAML.
PIECES = st.sampled_from(
    [
        "\n",
        "\n  ",
        "\t",
        *"a1~=[]{},'\"|>#",
        ": ",
        "? ",
        "- ",
        "no",
        "010",
        "1:30",
        ".inf",
        "2026-01-01",
        "&x",
        "*x",
        "<<",
        "!!python/name:os.system",
        "!!int",
        "!!binary",
        "---",
        "...",
        "%YAML 1.1",
    ]
)
TEXTS = st.text() | st.lists(PIECES | KEYS, max_size=30).map("".join) | WRITTEN


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lmcache.yaml"


@fuzzed
@given(TEXTS)
def test_s61_any_file_is_settings_or_one_line_that_says_why_not(path, text):
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    settings, refusal = tried(lambda: Settings.from_mapping(load_settings_file(path), {}), SettingsError)
    if refusal:
        assert str(refusal).isprintable()
    else:
        assert Settings.from_mapping(load_settings_file(path), {}) == settings


@fuzzed
@given(st.binary(max_size=300))
def test_s61_any_bytes_are_a_map_or_one_line_that_says_why_not(path, data):
    path.write_bytes(data)
    values, refusal = tried(lambda: load_settings_file(path), SettingsError)
    assert str(refusal).isprintable() if refusal else isinstance(values, dict)


@fuzzed
@given(TEXTS)
def test_s61_both_parsers_let_the_same_through(text):
    read = []
    for loader in (yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        with contextlib.suppress(Unfit, yaml.YAMLError, ValueError, OverflowError, RecursionError):
            read.append(repr(construct(compose_map(text, loader))))
    assert len(set(read)) <= 1


@fuzzed
@given(st.integers(1, 60), st.sampled_from(["[{}]", "{{a: {}}}", "{{a: [{}]}}"]))
def test_s61_what_is_nested_too_deeply_is_refused_and_nothing_else(depth, form):
    text = "1"
    for _ in range(depth):
        text = form.format(text)
    levels = depth * (2 if form == "{{a: [{}]}}" else 1) + 1
    read, refusal = tried(lambda: construct(compose_map(f"x: {text}")), Unfit)
    assert bool(refusal) == (levels > MAX_DEPTH)
    assert refusal or set(read) == {"x"}
