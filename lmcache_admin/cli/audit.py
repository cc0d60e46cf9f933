"""`lmcache-admin audit`: verify the chain of the audit's lines."""

from __future__ import annotations

from pathlib import Path

import click

from lmcache_admin.cli.private_file_options import chosen_file, shown_problem
from lmcache_admin.security.audit_chain import BrokenChain
from lmcache_admin.security.audit_verify import verify_files


@click.group("audit")
def command() -> None:
    """Verify the audit."""


@command.command("verify")
@click.option("--file", metavar="PATH", help="Audit file [internal_api_server_audit_file].")
def verify(file: str | None) -> None:
    """Find any changed, removed or reordered line, in the file and those rotated away from it.

    Exit codes: 0 every line is as it was written, 1 one is not (named), 2 wrong use.
    """
    path = chosen_file(file, "audit_file")
    try:
        first, last = verify_files(Path(path))
    except BrokenChain as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise shown_problem(path, error) from None
    if not last:
        raise click.ClickException(f"{path}: there is no audit")
    click.echo(f"{path}: lines {first} to {last} are as they were written")
