"""The comparison of protocols with live objects finds what is missing."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any, Protocol

import pytest

lacking = runpy.run_path(str(Path(__file__).with_name("lmcache_surface.py")))["lacking"]


class Store(Protocol):
    name: str
    _hidden: int

    @property
    def size(self) -> int: ...

    def put(self, key: str, /, *, value: int) -> None: ...

    def get(self, key: str, default: int = 0) -> int: ...


class Whole:
    def __init__(self) -> None:
        self.name, self._hidden, self.size = "a", 1, 2

    def put(self, anything: str, value: int, more: int = 0) -> None: ...

    def get(self, key: str, **others: int) -> int: ...


def test_an_object_with_every_member_lacks_nothing() -> None:
    assert lacking(Store, Whole()) == []


@pytest.mark.parametrize("member", ["name", "_hidden", "size"])
def test_a_missing_attribute_is_found(member: str) -> None:
    part = Whole()
    delattr(part, member)
    assert lacking(Store, part) == [f"{member}: there is none"]


@pytest.mark.parametrize(
    ("method", "fault"),
    [
        (None, "it is no method"),
        (lambda key, number: None, "missing a required argument: 'number'"),
        (lambda value: None, "multiple values for argument 'value'"),
        (lambda key, value, more: None, "missing a required argument: 'more'"),
        (lambda *, value: None, "too many positional arguments"),
    ],
)
def test_a_method_that_cannot_take_our_call_is_found(method: Any, fault: str) -> None:
    part: Any = Whole()
    part.put = method
    assert {line.partition(": ")[2] for line in lacking(Store, part)} == {fault}


def test_an_argument_that_we_may_leave_out_must_be_one_there() -> None:
    part: Any = Whole()
    part.get = lambda key, default: 0
    assert lacking(Store, part) == ["get: missing a required argument: 'default'"]
