"""`lmcache-admin user`: make, list and remove users; a running service takes the change over within a second."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from lmcache_admin.cli.private_file_options import chosen_file, shown_problem
from lmcache_admin.declaration import ROLES
from lmcache_admin.security.private_files import changing, read_private, write_private
from lmcache_admin.security.users import User, find_user, new_user, parse_users

_FILE = click.option("--file", metavar="PATH", help="User file [internal_api_server_user_file].")


@click.group("user")
def command() -> None:
    """Make, list and remove users."""


@command.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What they may do.")
@_FILE
def add(name: str, role: str, file: str | None) -> None:
    """Make a user; the password is asked for, or is the first line of standard input."""
    path = chosen_file(file, "user_file")
    password = _password()
    try:
        user = new_user(name, role, password)
        with changing(path):
            users = _read(path)
            if find_user(tuple(users), name) is not None:
                raise click.UsageError(f"there is a user {name!r} already")
            _write(path, [*users, user])
    except (OSError, ValueError) as error:
        raise shown_problem(path, error) from None


@command.command("password")
@click.argument("name")
@_FILE
def change_password(name: str, file: str | None) -> None:
    """Give a user another password; all their sessions end."""
    password = _password()
    _change(name, file, lambda user: user.renewed(password))


@command.command("remove")
@click.argument("name")
@_FILE
def remove(name: str, file: str | None) -> None:
    """Remove a user; a running service refuses them within 5 seconds."""
    _change(name, file, lambda _: None)


@command.command("list")
@_FILE
def show(file: str | None) -> None:
    """List names and roles."""
    path = chosen_file(file, "user_file")
    try:
        users = _read(path)
    except (OSError, ValueError) as error:
        raise shown_problem(path, error) from None
    for user in users:
        click.echo(f"{user.name}\t{user.role}")


def _password() -> str:
    if sys.stdin.isatty():
        asked: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
        return asked
    return sys.stdin.readline().rstrip("\n")


def _change(name: str, file: str | None, become: Callable[[User], User | None]) -> None:
    path = chosen_file(file, "user_file")
    try:
        with changing(path):
            users = _read(path)
            if find_user(tuple(users), name) is None:
                raise click.UsageError(f"there is no user {name!r}")
            changed = [become(user) if user.name == name else user for user in users]
            _write(path, [user for user in changed if user is not None])
    except (OSError, ValueError) as error:
        raise shown_problem(path, error) from None


def _read(path: str) -> list[User]:
    try:
        return list(parse_users(read_private(path).decode()))
    except FileNotFoundError:
        return []


def _write(path: str, users: list[User]) -> None:
    write_private(path, "".join(f"{user.line}\n" for user in users).encode())
