"""The generated tables of security.md: roles of all routes, and requirements with the tests that hold them."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import yaml

from lmcache_admin.app import create_app

__all__ = ["requirements", "requirements_table", "roles_table", "tests_by_requirement"]

ROOT = Path(__file__).resolve().parents[1]
_NUMBERS = re.compile(r"test_((?:s\d+_)+)")
_WORDS = {"always": "open", "metrics_open": "open with `metrics_open`"}


def requirements() -> dict[int, dict[str, str]]:
    """Return number -> promise, and with `comes` what it comes with."""
    found: dict[int, dict[str, str]] = yaml.safe_load((ROOT / "docs" / "requirements.yaml").read_text("utf-8"))
    return found


def tests_by_requirement() -> dict[int, list[str]]:
    """Return number -> `file::test` of every test that is named after it."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match = _NUMBERS.match(node.name) if isinstance(node, ast.FunctionDef) else None
            if match is not None:
                for number in re.findall(r"\d+", match[1]):
                    found[int(number)].append(f"{path.relative_to(ROOT)}::{node.name}")
    return found


def requirements_table() -> str:
    """Write requirement, promise and tests."""
    tests = tests_by_requirement()
    rows = ["| | promise | held by |", "| --- | --- | --- |"]
    for number, about in requirements().items():
        files = sorted({test.partition("::")[0] for test in tests.get(number, [])})
        held = ", ".join(f"`{file}`" for file in files) or f"comes with the {about.get('comes', '?')}"
        rows.append(f"| S{number} | {about['promise']} | {held} |")
    return "\n".join(rows)


def roles_table() -> str:
    """Write every route with its role."""
    rows = ["| route | least role | without credentials |", "| --- | --- | --- |"]
    routes = create_app(None).extensions["lmcache_admin"].routes
    for entry in sorted(routes.served, key=lambda one: (one.rule, one.method)):
        declared = entry.declaration
        bare = _WORDS.get(declared.public, "401")
        changed = f"; operator with `{declared.changes_if[0]}`" if declared.changes_if else ""
        rows.append(f"| `{entry.method} {entry.rule}` | {declared.role}{changed} | {bare} |")
    return "\n".join(rows)
