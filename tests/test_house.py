"""Rules of this house that no tool checks: sizes, names, what each package says of itself."""

from __future__ import annotations

import ast
import re
import subprocess
from importlib import import_module
from pathlib import Path

import pytest

import lmcache_admin

ROOT = Path(__file__).parents[1]
LONGEST_FILE = 300
LONGEST_FUNCTION = 30
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "base", "manager"}


def tracked() -> list[Path]:
    """Python files of the project: what git tracks, or all files of an unpacked archive."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
        return [ROOT / name for name in listed.stdout.split() if (ROOT / name).exists()]
    skipped = {"build", "dist", ".tox", ".ci", "venv", ".venv"}
    return [path for path in ROOT.rglob("*.py") if not skipped & set(path.relative_to(ROOT).parts)]


FILES = tracked()
SHIPPED = [path for path in FILES if path.relative_to(ROOT).parts[0] in ("lmcache_admin", "blueprints")]
PACKAGES = [path for path in SHIPPED if path.name == "__init__.py"]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_are_files_to_check() -> None:
    assert len(SHIPPED) > 20
    assert ROOT / "lmcache_admin" / "settings.py" in SHIPPED


def test_no_file_is_longer_than_300_lines() -> None:
    long = {name(path): lines for path in FILES if (lines := len(path.read_text().splitlines())) > LONGEST_FILE}
    assert long == {}


def test_no_function_is_longer_than_30_lines() -> None:
    """Docstrings and declarations of parameters do not count: what is read is what it does."""
    long = {}
    for path in SHIPPED:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.body[-1].end_lineno:
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                lines = body[-1].end_lineno - body[0].lineno + 1 if body and body[-1].end_lineno else 0
                if lines > LONGEST_FUNCTION:
                    long[f"{name(path)}:{node.lineno} {node.name}"] = lines
    assert long == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    vague = [name(path) for path in SHIPPED if path.stem.lstrip("_") in VAGUE]
    vague += [name(path) for path in PACKAGES if path.parent.name in VAGUE]
    assert vague == []


@pytest.mark.parametrize("path", SHIPPED, ids=name)
def test_a_module_says_what_it_is_for(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring
    assert len(docstring.splitlines()[0]) > 15


@pytest.mark.parametrize("path", PACKAGES, ids=name)
def test_a_package_lists_its_public_names(path: Path) -> None:
    package = import_module(".".join(path.parent.relative_to(ROOT).parts))
    assert isinstance(package.__all__, list)
    for public in package.__all__:
        assert hasattr(package, public)


def test_blueprints_is_a_folder_and_no_package() -> None:
    assert [name(path) for path in FILES if path.name == "__init__.py" and "blueprints" in path.parts] == []


def test_tests_have_no_packages() -> None:
    assert [name(path) for path in (ROOT / "tests").rglob("__init__.py")] == []


def test_no_module_loads_an_engine_when_it_is_imported() -> None:
    loading = []
    for path in SHIPPED:
        for node in ast.parse(path.read_text()).body:  # the module's level only
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if {module.partition(".")[0] for module in modules} & {"torch", "lmcache", "vllm"}:
                loading.append(name(path))
    assert loading == []


def test_an_ignored_type_error_names_its_code() -> None:
    bare = [name(path) for path in SHIPPED if re.search(r"#\s*type:\s*ignore(?!\[)", path.read_text())]
    assert bare == []


def test_the_changelog_speaks_of_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in changelog or f"## [{lmcache_admin.__version__}]" in changelog


def floors() -> dict[str, str]:
    text = (ROOT / "setup.py").read_text()
    lists = re.findall(r"^(?:REQUIRES|REDIS|OBJECTS|GCS) = \[(.*?)\]", text, re.MULTILINE | re.DOTALL)
    return dict(re.findall(r'"([A-Za-z0-9_-]+)>=([0-9.]+)"', "".join(lists)))


def test_s62_the_oldest_versions_that_are_tested_are_the_floors_of_setup() -> None:
    text = (ROOT / "tests/oldest-constraints.txt").read_text()
    pinned = dict(re.findall(r"^([A-Za-z0-9_-]+)==([0-9.]+)$", text, re.MULTILINE))
    assert {package: pinned.get(package) for package in floors()} == floors()


def test_s62_floors_keep_out_what_has_published_holes() -> None:
    def parts(version: str) -> tuple[int, ...]:
        return tuple(int(part) for part in version.split("."))

    assert parts(floors()["flask"]) >= (3, 1, 3)
    assert parts(floors()["werkzeug"]) >= (3, 0, 6)
    assert parts(floors()["waitress"]) >= (3, 0, 1)


def test_every_exception_of_the_linter_has_its_reason() -> None:
    text = (ROOT / "ruff.toml").read_text()
    ignored = text[text.index("ignore = [") : text.index("[lint.flake8-tidy-imports]")]
    silent = [line for line in ignored.splitlines() if re.search(r'"[A-Z]+\d*"', line) and "#" not in line]
    assert silent == []
