"""The pretty styles are `json.dumps` with indent 2 to the byte, whatever an object holds."""

from __future__ import annotations

import enum
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmcache_admin.rendering import render

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)


class Level(enum.IntEnum):
    LOW = 1


class Name(str):
    __slots__ = ()


@given(VALUES | st.dictionaries(st.text(), VALUES))
def test_pretty_is_what_json_writes(value: Any) -> None:
    for style in ("pretty", "pretty_any", "pretty_text"):
        assert render(value, style).get_data(as_text=True) == json.dumps(value, indent=2)


@pytest.mark.parametrize(
    "value",
    [
        {"a": Level.LOW, "b": Name("x"), "c": (1, 2), "d": {}, "e": []},
        {2: "a", None: "b", True: "c"},
        {"a": {1: {"b": "line\nbreak"}}, "b": ["line\nbreak", {"c": [[]]}]},
    ],
)
def test_values_of_other_types_are_as_json_writes_them(value: Any) -> None:
    assert render(value, "pretty").get_data(as_text=True) == json.dumps(value, indent=2)


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan")])
def test_a_number_that_json_does_not_have_is_refused_but_in_text(number: float) -> None:
    for value in ({"a": number}, {"a": [number]}):
        for style in ("pretty", "pretty_any"):
            with pytest.raises(ValueError, match="JSON compliant"):
                render(value, style)
        assert render(value, "pretty_text").get_data(as_text=True) == json.dumps(value, indent=2)


def test_what_json_has_no_form_for_is_printed_or_refused() -> None:
    value = {"a": object, "b": [object]}
    assert render(value, "pretty_any").get_data(as_text=True) == json.dumps(value, indent=2, default=str)
    with pytest.raises(TypeError):
        render(value, "pretty")
