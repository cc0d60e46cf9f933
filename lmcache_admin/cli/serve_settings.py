"""What `serve` runs with: the settings file, then the environment, then the flags; and the data folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

from lmcache_admin.engine import Configuration
from lmcache_admin.settings import settings_keys
from lmcache_admin.settings_error import SettingsError
from lmcache_admin.settings_file import load_settings_file
from lmcache_admin.settings_keys import PREFIX, extra_config
from lmcache_admin.shipped import shipped_folder

__all__ = ["DataFolderError", "data_folder", "engine_configuration", "keep_in", "serve_values"]

TOKENS = "tokens"  # the token file in a data folder
DISK_GB = 1.0  # budget of the chunks in the data folder when nobody says another, as in the shipped file


class DataFolderError(SettingsError):
    """A data folder that cannot be made or written: the setting may be right, the machine is not ready for it."""


def data_folder(wanted: str | None, environ: Mapping[str, str]) -> Path:
    """Make the data folder (0700) and return it; the default follows the XDG rules for state.

    Raises:
        DataFolderError: It cannot be made or written.
    """
    state = environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    folder = Path(os.path.abspath(os.path.expanduser(wanted or os.path.join(state, "lmcache-admin"))))
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if wanted is None or not any(folder.iterdir()):  # a folder of the operator's keeps its mode
            folder.chmod(0o700)
    except OSError as error:
        raise DataFolderError(
            "--data", str(folder), "a folder that we may make", reason=error.strerror or str(error)
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DataFolderError("--data", str(folder), "a folder that we may write to")
    return folder


def serve_values(config: str | None, flags: Mapping[str, object], environ: MutableMapping[str, str]) -> dict[str, Any]:
    """Put file, environment and flags together; a variable that a flag overrides leaves the environment.

    Args:
        config: The settings file; None: that of LMCACHE_CONFIG_FILE, else the shipped `conf/lmcache.yaml`.
        flags: Field of Settings to value; None where the flag was not given.
        environ: The environment of this process.

    Raises:
        SettingsError: The file or its `extra_config` cannot be used.
    """
    path = config or environ.get("LMCACHE_CONFIG_FILE") or str(shipped_folder("conf") / "lmcache.yaml")
    values = load_settings_file(path)
    extra = dict(extra_config(values.get("extra_config"), environ))
    environ.pop("LMCACHE_EXTRA_CONFIG", None)
    values["extra_config"] = extra
    for key in settings_keys():
        if environ.get(key.variable) == "":  # counts as not set, for the engine's reading too
            del environ[key.variable]
        if flags.get(key.field) is not None:
            environ.pop(key.variable, None)
            (values if key.top else extra)[key.name] = flags[key.field]
    values[f"{PREFIX}enabled"] = True  # whoever says `serve` wants it served
    environ.pop(f"LMCACHE_{PREFIX.upper()}ENABLED", None)
    extra.setdefault(f"{PREFIX}config_folders", [os.path.dirname(os.path.abspath(path))])
    return values


def keep_in(folder: Path, values: MutableMapping[str, Any], environ: Mapping[str, str]) -> None:
    """Name the files of the data folder where no setting names others: audit, key of sessions, tokens.

    Args:
        folder: The data folder.
        values: What `serve_values` has put together; these files are added.
        environ: The environment of this process.
    """
    extra = values["extra_config"]

    def named(name: str) -> bool:
        return f"{PREFIX}{name}" in extra or f"LMCACHE_{PREFIX.upper()}{name.upper()}" in environ

    files = {"audit_file": "audit.log", "session_key_file": "session.key"}
    auth = environ.get(f"LMCACHE_{PREFIX.upper()}AUTH") or extra.get(f"{PREFIX}auth")
    if str(auth).strip().lower() == "token" and (not named("user_file") or (folder / TOKENS).exists()):
        files["token_file"] = TOKENS
    for name, file in files.items():
        if not named(name):
            extra[f"{PREFIX}{name}"] = str(folder / file)


def engine_configuration(values: Mapping[str, Any], data: Path, environ: Mapping[str, str]) -> Configuration:
    """Read the engine's part of `serve_values`; without a disk of its own it keeps chunks in the data folder.

    Args:
        values: What file and flags say.
        data: The data folder.
        environ: The environment of this process.

    Raises:
        ConfigurationError: A value that its key does not allow.
    """
    configuration = Configuration.from_mapping(values, environ)
    if configuration.local_disk:
        return configuration
    if values.get("max_local_disk_size") is None and "LMCACHE_MAX_LOCAL_DISK_SIZE" not in environ:
        configuration.max_local_disk_size = DISK_GB
    if configuration.max_local_disk_size:  # somebody's 0 means no disk
        configuration.local_disk = str(data / "chunks")
    return configuration
