"""The redactor: what is planted never leaves, what is harmless stays, and masking twice is masking once."""

from __future__ import annotations

import json

import pytest
from fuzzed import fuzzed
from hypothesis import given
from hypothesis import strategies as st

from lmcache_admin.security.redaction import Redactor

REDACTOR = Redactor()
SECRET = "hUnt3rX9q"
#: Names of secrets, as programs write them.
NAMED = st.sampled_from(
    ["password", "DB_PASSWORD", "apiKey", "api-key", "secret_key", "AccessToken", "aws_secret_access_key", "PGPASSWORD"]
)
#: Forms in which a secret stands in a text.
FORMS = st.sampled_from(
    [
        "redis://user:{}@cache:6379/0",
        "https://host/x?a=1&token={}&b=2",
        "Authorization: Bearer {}",
        "password={}",
        "--api-key {} --verbose",
        "--password={}",
        '{{"password": "{}"}}',
        "{{'api_key': '{}'}}",
        "password: {}",
        "Config(user='bob', password='{}')",
        "AccountKey={};EndpointSuffix=core",
    ]
)
WORDS = st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=8)
AROUND = st.lists(WORDS, max_size=4).map(" ".join)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
ANYTHING = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)
#: What an operator has to be able to read: names and values without any meaning to a redactor.
HARMLESS_KEYS = st.sampled_from(["chunk_size", "host", "local_cpu", "worker_id", "remote_serde", "max_size", "status"])
HARMLESS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(0, 10**6)
    | st.sampled_from(["LocalCPUBackend", "naive", "/data/cache", "ok", "0.5.6"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(HARMLESS_KEYS, inner, max_size=4),
)


def wrap(value, path):
    """Put a value into lists and maps, outside last."""
    for step in path:
        value = {step: value} if isinstance(step, str) else [*range(step), value]
    return value


PATHS = st.lists(st.integers(0, 3) | WORDS, max_size=5)


@fuzzed
@given(FORMS, AROUND, AROUND, PATHS, st.sampled_from([" ", "\n", "\t", ", ", "; "]))
def test_s21_a_secret_planted_in_a_text_never_leaves(form, before, after, path, blank):
    text = blank.join(part for part in (before, form.format(SECRET), after) if part)
    assert SECRET not in REDACTOR.mask_text(text)
    assert SECRET not in repr(REDACTOR.mask(wrap(text, path)))
    assert SECRET not in REDACTOR.mask_text(json.dumps(wrap(text, path)))


@fuzzed
@given(NAMED, st.sampled_from(["{}", "x{}", "{}/+=", " {}", "a b {}", "{}\nx"]), PATHS, ANYTHING)
def test_s21_a_secret_under_a_name_of_one_never_leaves_whatever_is_around(name, form, path, beside):
    value = {name: form.format(SECRET), "beside": beside}
    for planted in (value, {name: wrap(form.format(SECRET), path)}, wrap(value, path)):
        assert SECRET not in repr(REDACTOR.mask(planted))
        assert SECRET not in repr(REDACTOR.mask_answer(planted, printed=True))
        assert SECRET not in REDACTOR.mask_text(json.dumps(planted))


@fuzzed
@given(HARMLESS)
def test_s22_what_is_harmless_stays_as_it_is(value):
    assert REDACTOR.mask(value) == value
    assert REDACTOR.mask_answer(value, printed=False) == value
    text = json.dumps(value)
    assert REDACTOR.mask_text(text) == text


@fuzzed
@given(ANYTHING)
def test_s21_whatever_it_is_masking_twice_is_masking_once(value):
    once = REDACTOR.mask(value)
    assert REDACTOR.mask(once) == once


@fuzzed
@given(
    st.text()
    | st.text(alphabet="pasword=:{}[]\"'\\ \n-/@.;,x1", max_size=60)
    | st.tuples(FORMS, st.text()).map(lambda p: p[0].format(p[1]))
)
def test_s21_any_text_is_masked_once_and_for_all(text):
    once = REDACTOR.mask_text(text)
    assert REDACTOR.mask_text(once) == once


@pytest.mark.parametrize(
    "secret",
    [
        "--api-key hUnt3rX9q",
        "--password=hUnt3rX9q",
        "password=hUnt3rX9q",
        "Bearer hUnt3rX9qhUnt",
        "Basic hUnt3rX9qhUnt==",
        "ghp_hUnt3rX9qhUnt3rX9q",
        "hf_hUnt3rX9qhUnt3rX9q",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.hUnt3rX9q",
    ],
)
def test_s21_a_line_end_that_is_written_as_two_letters_hides_nothing(secret):
    for form in (repr, json.dumps):
        assert SECRET not in REDACTOR.mask_text(form(f"a\n{secret}\tb"))
        assert SECRET not in REDACTOR.mask_text("failed: " + form(f"a\n{secret}\nb"))
