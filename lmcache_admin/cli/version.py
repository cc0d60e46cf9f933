"""`lmcache-admin version`."""

from __future__ import annotations

import click

from lmcache_admin._version import __version__


@click.command("version")
def command() -> None:
    """Print the version."""
    click.echo(f"lmcache-admin {__version__}")
