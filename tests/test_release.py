"""A release: built twice it has the same bytes, it lists what is in it, and each import of it is declared (S62)."""

from __future__ import annotations

import ast
import base64
import csv
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from io import StringIO
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: What is imported where it is there: of an engine that is the host, and what s3fs brings and names in its failures.
OPTIONAL = {"lmcache", "vllm", "torch", "aiohttp", "botocore"}


def built(folder: Path, umask: int, age: int) -> Path:
    """Build a wheel from a copy of the tree whose files are `age` seconds old."""
    source = folder / "tree"
    skipped = shutil.ignore_patterns(".git", "build", "dist", "*.egg-info", "__pycache__", ".tox", ".ci", ".*_cache")
    shutil.copytree(ROOT, source, ignore=skipped)
    for path in source.rglob("*"):
        os.utime(path, (1_700_000_000 - age, 1_700_000_000 - age))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE_"))}
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(folder), "."]
    done = subprocess.run(
        command,
        cwd=source,
        env={**kept, "SOURCE_DATE_EPOCH": "1700000000", "PYTHONHASHSEED": str(age)},
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module", name="wheels")
def wheels_fixture(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The wheel, built twice, elsewhere and later."""
    return [built(tmp_path_factory.mktemp("release"), umask, age) for umask, age in ((0o022, 1), (0o077, 86_400))]


def test_s62_wheel_that_is_built_twice_has_the_same_bytes(wheels: list[Path]) -> None:
    first, second = (hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in wheels)
    assert first == second


def test_s62_wheel_lists_its_files_with_their_digests(wheels: list[Path]) -> None:
    packed = zipfile.ZipFile(wheels[0])
    (record,) = (name for name in packed.namelist() if name.endswith(".dist-info/RECORD"))
    listed = {name: digest for name, digest, _ in csv.reader(StringIO(packed.read(record).decode()))}
    assert set(listed) == set(packed.namelist())
    for name, digest in listed.items():
        if name != record:
            found = base64.urlsafe_b64encode(hashlib.sha256(packed.read(name)).digest()).rstrip(b"=").decode()
            assert digest == f"sha256={found}", name


def test_s62_wheel_holds_text_alone(wheels: list[Path]) -> None:
    packed = zipfile.ZipFile(wheels[0])
    for name in packed.namelist():
        packed.read(name).decode("utf-8")


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_s62_every_package_that_is_imported_is_declared_with_a_floor() -> None:
    text = (ROOT / "setup.py").read_text("utf-8")
    lists = text[text.index("REQUIRES = [") : text.index("TEST = [")]
    declared = {normal(name) for name in re.findall(r'"([A-Za-z0-9_-]+)>=[0-9.]+"', lists)}
    own = {"lmcache_admin", "blueprints", "_typeshed", *sys.stdlib_module_names, *OPTIONAL}
    files = [path for part in ("lmcache_admin", "blueprints") for path in (ROOT / part).rglob("*.py")]
    needed = set().union(*map(imported, files))
    known = packages_distributions()
    for name in sorted(needed - own):
        assert {normal(one) for one in known.get(name, [name])} & declared, name
