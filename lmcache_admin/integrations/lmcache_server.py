"""The server that LMCache builds after `install`: ours, or LMCache's own where a setting asks for that."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from typing import Any

from lmcache_admin.integrations.lmcache import original_server
from lmcache_admin.integrations.lmcache_closing import let_all_close
from lmcache_admin.internal_api_server import InternalAPIServer
from lmcache_admin.settings import Settings, SettingsError, settings_keys

__all__ = ["LMCacheAPIServer"]

_STANDALONE = "lmcache.v1.standalone.__main__"
_FILE = "LMCACHE_CONFIG_FILE"


class LMCacheAPIServer(InternalAPIServer):
    """Our server; building one with `internal_api_server_replace: false` gives LMCache's own instead."""

    def __new__(cls, lmcache_manager: Any) -> Any:
        if _replaces(getattr(lmcache_manager, "config", None)):
            return super().__new__(cls)
        return original_server()(lmcache_manager)  # of another class, so that __init__ of ours is not called

    def stop(self) -> None:
        """As ours; and LMCache, which closes its engine next, is not left waiting for its backends."""
        serving = self.enable
        super().stop()
        if serving:
            let_all_close(self.service.manager)

    def _environment(self) -> Mapping[str, str]:
        """With the settings file where the standalone starter got it as an option: its folder is a default of ours."""
        file = _standalone_file()
        return os.environ if file is None else {**os.environ, _FILE: file}


def _standalone_file() -> str | None:
    """The file of `--config`, where this process is LMCache's standalone starter; LMCache's objects forget it."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if getattr(spec, "name", None) != _STANDALONE:
        return None
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("--config")
    file: str | None = options.parse_known_args(sys.argv[1:])[0].config  # the starter has read the same line before
    return file or None


def _replaces(config: object) -> bool:
    variable = next(key.variable for key in settings_keys() if key.field == "replace")
    environ = {variable: os.environ[variable]} if variable in os.environ else {}
    try:
        return Settings.from_host(config, environ).replace
    except SettingsError:
        return True  # ours says which setting is wrong, and stays off
