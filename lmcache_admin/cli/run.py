"""`lmcache-admin run -m MODULE`: run a host's own program, with our server in the place of LMCache's."""

from __future__ import annotations

import os
import runpy
import sys
from importlib.util import find_spec

import click

from lmcache_admin.integrations.lmcache import install


class PassThrough(click.Command):
    """A command whose options end after `-m MODULE`: the rest is the module's, `--help` included."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args[:1] == ["-m"]:
            args = [*args[:2], "--", *args[2:]]
        return super().parse_args(ctx, args)


@click.command("run", cls=PassThrough)
@click.option("-m", "module", required=True, metavar="MODULE", help="Module to run, as `python -m` would.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(module: str, arguments: tuple[str, ...]) -> None:
    """Run an engine's own program with our server in it.

    LMCache's standalone starter, for example: `lmcache-admin run -m lmcache.v1.standalone --config FILE`. All that
    follows the module goes to it, and its exit code is that of the command.
    """
    install()
    if os.getcwd() not in sys.path and not getattr(sys.flags, "safe_path", False):
        sys.path.insert(0, os.getcwd())  # where `python -m` looks first
    _check(module)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _check(module: str) -> None:
    """Refuse what cannot be run, so that the module's own import errors keep their traceback."""
    if not all(map(str.isidentifier, module.split("."))) or not _can_run(module):
        raise click.UsageError(f"-m {module!r}: {sys.executable} has no such module that can be run")


def _can_run(module: str) -> bool:
    try:
        spec = find_spec(module)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = find_spec(f"{module}.__main__")
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # something that a parent package imports
        return False
    return spec is not None
