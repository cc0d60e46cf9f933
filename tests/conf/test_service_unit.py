"""conf/lmcache-admin.service: a unit that systemd takes, for a command that exists."""

from __future__ import annotations

import configparser
import shlex
import shutil
import subprocess

import click
import pytest

from lmcache_admin.cli import COMMANDS
from lmcache_admin.cli.serve import command
from lmcache_admin.shipped import shipped_folder

UNIT = shipped_folder("conf") / "lmcache-admin.service"


def test_systemd_finds_nothing_wrong_with_it() -> None:
    checker = shutil.which("systemd-analyze")
    if checker is None:
        pytest.skip("systemd-analyze is not installed")
    done = subprocess.run([checker, "verify", str(UNIT)], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_it_starts_serve_with_flags_that_exist() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNIT)
    _, program, name, *flags = shlex.split(unit["Service"]["ExecStart"])
    assert program == "lmcache-admin"
    assert name in COMMANDS
    parsed = command.make_context(name, flags)
    assert isinstance(parsed, click.Context)
    assert parsed.params["config"] == "/etc/lmcache-admin/lmcache.yaml"
    assert parsed.params["log_format"] == "json"
