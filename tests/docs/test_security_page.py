"""docs/security.md lists every requirement with a test that is named after it."""

import runpy
from pathlib import Path

import pytest

TABLES = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "security_tables.py"))
REQUIREMENTS = TABLES["requirements"]()
TESTS = TABLES["tests_by_requirement"]()


def test_every_requirement_is_listed():
    assert list(REQUIREMENTS) == list(range(1, 73))


@pytest.mark.parametrize("number", REQUIREMENTS)
def test_requirement_has_a_promise_and_a_test_or_says_what_it_comes_with(number):
    about = REQUIREMENTS[number]
    assert about["promise"].endswith(".")
    assert TESTS.get(number) or about.get("comes") in ("pages", "gateway")


def test_tests_are_named_after_requirements_that_there_are():
    assert set(TESTS) <= set(REQUIREMENTS)
