"""Which file of tokens, users or audit a command works on: what is named, else what the settings in use say."""

from __future__ import annotations

import os

import click

from lmcache_admin.settings import Settings, SettingsError
from lmcache_admin.settings_file import load_settings_file


def chosen_file(named: str | None, key: str) -> str:
    """Return the file that a command works on.

    Args:
        named: What `--file` says.
        key: Field of the settings that names it otherwise: those of LMCACHE_CONFIG_FILE and the environment.

    Raises:
        click.UsageError: Neither names one.
    """
    if named:
        return os.path.abspath(os.path.expanduser(named))
    try:
        file = os.environ.get("LMCACHE_CONFIG_FILE")
        settings = Settings.from_mapping(load_settings_file(file) if file else {})
    except SettingsError as error:
        raise click.UsageError(str(error)) from None
    path: str | None = getattr(settings, key)
    if path is None:
        raise click.UsageError(f"name the file by --file, or by internal_api_server_{key} in the settings")
    return path


def shown_problem(path: str, error: Exception) -> click.ClickException:
    """The failure of a command whose file cannot be read or written, as one line."""
    why = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return click.ClickException(f"{path}: {why}")
