"""`lmcache-admin token`: make, list and revoke tokens; a running service takes the change over within a second."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import click

from lmcache_admin.cli.private_file_options import chosen_file, shown_problem
from lmcache_admin.declaration import ROLES
from lmcache_admin.security.private_files import changing, read_private, write_private
from lmcache_admin.security.tokens import Token, new_token, parse_tokens

_FILE = click.option("--file", metavar="PATH", help="Token file [internal_api_server_token_file].")


@click.group("token")
def command() -> None:
    """Make, list and revoke tokens."""


@command.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What its holder may do.")
@click.option("--days", type=click.IntRange(1, 36500), help="Days until it ends [never].")
@_FILE
def add(name: str, role: str, days: int | None, file: str | None) -> None:
    """Make a token and print it; it is printed this once and kept nowhere."""
    path = chosen_file(file, "token_file")
    ends = datetime.now(timezone.utc) + timedelta(days=days) if days else None
    try:
        secret, token = new_token(name, role, ends)
        with changing(path):
            tokens = _read(path)
            if name in [one.name for one in tokens]:
                raise click.UsageError(f"there is a token {name!r} already; revoke it first")
            _write(path, [*tokens, token])
    except (OSError, ValueError) as error:
        raise shown_problem(path, error) from None
    click.echo(secret)


@command.command("list")
@_FILE
def show(file: str | None) -> None:
    """List names, roles and expiries."""
    path = chosen_file(file, "token_file")
    try:
        tokens = _read(path)
    except (OSError, ValueError) as error:
        raise shown_problem(path, error) from None
    for token in tokens:
        ends = token.expires.isoformat().replace("+00:00", "Z") if token.expires else "never"
        click.echo(f"{token.name}\t{token.role}\t{ends}")


@command.command("revoke")
@click.argument("name")
@_FILE
def revoke(name: str, file: str | None) -> None:
    """Revoke a token; a running service refuses it within 5 seconds."""
    path = chosen_file(file, "token_file")
    try:
        with changing(path):
            tokens = _read(path)
            kept = [token for token in tokens if token.name != name]
            if len(kept) == len(tokens):
                raise click.UsageError(f"there is no token {name!r}")
            _write(path, kept)
    except (OSError, ValueError) as error:
        raise shown_problem(path, error) from None


def _read(path: str) -> list[Token]:
    try:
        return list(parse_tokens(read_private(path).decode()))
    except FileNotFoundError:
        return []


def _write(path: str, tokens: list[Token]) -> None:
    write_private(path, "".join(f"{token.line}\n" for token in tokens).encode())
