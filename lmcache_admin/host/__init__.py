"""What this service needs of whoever embeds it; may not import Flask but in `current`, nor any engine."""

from lmcache_admin.host.protocols import Engine, Manager, Registry, Runtime, StorageManager

__all__ = ["Engine", "Manager", "Registry", "Runtime", "StorageManager"]
