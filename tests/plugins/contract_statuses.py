"""A pytest plugin: which answers of the contract did the tests see, and which did none of them?

`pytest -p contract_statuses tests/blueprints/vllm tests/contract` (with this folder on PYTHONPATH) prints a table and
fails if an answer of tests/contract/statuses.yaml was not produced. Answers are seen where the server runs in the
process of the tests; the module needs no change in a test.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import flask
import pytest
import yaml

STATUSES = Path(__file__).parents[1] / "contract" / "statuses.yaml"
#: Route -> what was answered ("400 Missing parameters") -> the first test that saw it.
SEEN: dict[str, dict[str, str]] = defaultdict(dict)


def note(app: flask.Flask, response: flask.Response, **_: object) -> None:
    """Note one answer."""
    rule = flask.request.url_rule
    if rule is not None:
        told = f"{response.status_code} {said(response.get_data())}"
        test = os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0]
        SEEN[f"{flask.request.method} {rule.rule}"].setdefault(told, test)


def said(body: bytes) -> str:
    """What a body says first: its `error` or `detail`, or its first key."""
    try:
        value = json.loads(body)
    except ValueError:
        return ""
    if not isinstance(value, dict):
        return ""
    return str(value.get("error") or value.get("detail") or next(iter(value), ""))


def expected() -> Mapping[str, list[str]]:
    """Route -> the contract's answers."""
    routes = yaml.safe_load(STATUSES.read_text())
    return {route: [str(answer) for answer in answers] for route, answers in routes.items()}


def missing() -> Iterable[tuple[str, str]]:
    """The contract's answers that no test produced."""
    for route, answers in expected().items():
        for answer in answers:
            if not any(told.startswith(answer) for told in SEEN[route]):
                yield route, answer


def pytest_configure() -> None:
    flask.request_finished.connect(note)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if any(missing()) and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lost = list(missing())
    terminalreporter.section("answers of the contract")
    for route, answers in expected().items():
        without = [answer for there, answer in lost if there == route]
        count = f"{len(answers) - len(without)} of {len(answers)}"
        terminalreporter.line(f"{route:<34} {count:>8}{'   no test: ' if without else ''}{', '.join(without)}")
    total = sum(map(len, expected().values()))
    terminalreporter.line(f"{total - len(lost)} of {total} answers of the contract have a test")
