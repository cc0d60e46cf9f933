"""The command line: a click group whose commands are loaded when they are called.

This file imports click and nothing of the package, so that `--help` takes no longer than Python and click do.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

import click

__all__ = ["main"]

# name: module, what the list of commands says about it (a test compares it with the command's own help)
COMMANDS = {
    "serve": ("lmcache_admin.cli.serve", "Run the service with the embedded engine."),
    "run": ("lmcache_admin.cli.run", "Run an engine's own program with our server in it."),
    "api": ("lmcache_admin.cli.api", "Send one request to a running service."),
    "token": ("lmcache_admin.cli.token", "Make, list and revoke tokens."),
    "user": ("lmcache_admin.cli.user", "Make, list and remove users."),
    "audit": ("lmcache_admin.cli.audit", "Verify the audit."),
    "version": ("lmcache_admin.cli.version", "Print the version."),
}
INTERRUPTED = 130


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        ctx.invoke(import_module("lmcache_admin.cli.version").command)
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Print it.")
def group() -> None:
    """Inspect and manage an LMCache engine while it runs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (0 done, 1 refused, 2 wrong use, 3 no answer, 130)."""
    try:
        code = group.main(arguments, prog_name="lmcache-admin", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        sys.stderr.close()
        return 1
    return code if isinstance(code, int) else 0
