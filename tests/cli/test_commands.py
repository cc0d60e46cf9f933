"""The command line as a whole: help, version, what is loaded when."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module

import pytest

from lmcache_admin import __version__
from lmcache_admin.cli import COMMANDS, main

Run = Callable[..., subprocess.CompletedProcess[str]]
HEAVY = ("flask", "numpy", "yaml", "waitress", "marshmallow", "rich", "prometheus_client", "torch", "lmcache")


def test_help_lists_every_command(run: Run) -> None:
    done = run("--help")
    assert done.returncode == 0
    for name in COMMANDS:
        assert f"\n  {name}" in done.stdout


def test_help_loads_nothing_but_click(tmp_path: object) -> None:
    code = f"import sys; from lmcache_admin.cli import main; main(['--help']); print(set({HEAVY}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_serve_takes_signals_before_it_loads_anything_else() -> None:
    code = f"import sys, lmcache_admin.cli.serve; print(set({HEAVY}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"


def test_importing_the_package_loads_nothing_else() -> None:
    code = f"import sys, lmcache_admin; print(set({HEAVY}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("name", list(COMMANDS))
def test_the_list_says_what_the_command_says_of_itself(name: str) -> None:
    module, about = COMMANDS[name]
    command = import_module(module).command
    assert command.name == name
    assert command.help.splitlines()[0] == about


@pytest.mark.parametrize("arguments", [["version"], ["--version"]])
def test_the_version_is_that_of_the_package(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"lmcache-admin {__version__}\n"


@pytest.mark.parametrize("arguments", [["no-such-command"], ["--no-such-flag"]])
def test_an_unknown_word_is_wrong_use(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "No such" in capsys.readouterr().err
