"""The embedded engine: a small synchronous KV cache with real backends, in the form of LMCache's own."""

from __future__ import annotations

from lmcache_admin.engine.configuration import Configuration
from lmcache_admin.engine.engine import Engine
from lmcache_admin.engine.errors import ConfigurationError, StorageError
from lmcache_admin.engine.host import Manager
from lmcache_admin.engine.storage import StorageManager

__all__ = ["Configuration", "ConfigurationError", "Engine", "Manager", "StorageError", "StorageManager"]
