"""`lmcache-admin run -m MODULE`: the module gets what follows it, and its exit code is the command's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SHOWS = """
import sys
print(__name__, sys.argv[1:], any(type(f).__module__ == "lmcache_admin.integrations.lmcache" for f in sys.meta_path))
sys.exit(int(sys.argv[-1]) if sys.argv[-1].isdigit() else 0)
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command with modules of `folder` at hand."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.getenv("PYTHONPATH")])])}
    command = [sys.executable, "-m", "lmcache_admin", "run", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """`shows.py`, `package/__main__.py`, `library/` without a main module, `broken.py`."""
    (tmp_path / "shows.py").write_text(SHOWS)
    for name in ("package", "library"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    (tmp_path / "package" / "__main__.py").write_text(SHOWS)
    (tmp_path / "broken.py").write_text("import a_module_that_is_not_there")
    return tmp_path


@pytest.mark.parametrize("module", ["shows", "package"])
def test_the_module_runs_as_main_with_our_server_in_place(modules: Path, module: str) -> None:
    done = run(modules, "-m", module, "--config", "F", "key=value")
    assert (done.returncode, done.stdout) == (0, "__main__ ['--config', 'F', 'key=value'] True\n")


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["-m", "x"], ["--", "-v"], ["--version"]])
def test_all_that_follows_the_module_is_the_modules(modules: Path, arguments: list[str]) -> None:
    done = run(modules, "-m", "shows", *arguments)
    assert done.stdout == f"__main__ {arguments} True\n"


def test_its_exit_code_is_the_commands(modules: Path) -> None:
    assert run(modules, "-m", "shows", "7").returncode == 7


@pytest.mark.parametrize("module", ["nobody", "nobody.at.all", "library", "json.decoder.part", "", ".", "a-b"])
def test_what_cannot_be_run_is_wrong_use(modules: Path, module: str) -> None:
    done = run(modules, "-m", module)
    assert done.returncode == 2
    assert f"-m {module!r}: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_module_that_fails_to_import_shows_its_own_error(modules: Path) -> None:
    done = run(modules, "-m", "broken")
    assert done.returncode == 1
    assert "No module named 'a_module_that_is_not_there'" in done.stderr


def test_a_module_must_be_named(modules: Path) -> None:
    done = run(modules)
    assert done.returncode == 2
    assert "Missing option '-m'" in done.stderr


def test_a_module_of_the_current_folder_is_found_as_python_finds_it(modules: Path) -> None:
    start = "import sys; del sys.path[0]; from lmcache_admin.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", start, "run", "-m", "shows", "it"]  # as the installed script, which lies elsewhere
    done = subprocess.run(command, capture_output=True, text=True, cwd=modules)
    assert (done.stdout, done.stderr) == ("__main__ ['it'] True\n", "")
