"""The server that LMCache builds after `install`: ours, or LMCache's own where a setting asks for that."""

from __future__ import annotations

import os
from typing import Any

from lmcache_admin.integrations.lmcache import original_server
from lmcache_admin.internal_api_server import InternalAPIServer
from lmcache_admin.settings import Settings, SettingsError, settings_keys

__all__ = ["LMCacheAPIServer"]


class LMCacheAPIServer(InternalAPIServer):
    """Our server; building one with `internal_api_server_replace: false` gives LMCache's own instead."""

    def __new__(cls, lmcache_manager: Any) -> Any:
        if _replaces(getattr(lmcache_manager, "config", None)):
            return super().__new__(cls)
        return original_server()(lmcache_manager)  # of another class, so that __init__ of ours is not called


def _replaces(config: object) -> bool:
    variable = next(key.variable for key in settings_keys() if key.field == "replace")
    environ = {variable: os.environ[variable]} if variable in os.environ else {}
    try:
        return Settings.from_host(config, environ).replace
    except SettingsError:
        return True  # ours says which setting is wrong, and stays off
