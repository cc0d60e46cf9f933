"""Chunk stores that are shared with LMCache: folders, Redis and Valkey, object stores."""

from __future__ import annotations

from lmcache_admin.engine.remote.address import masked
from lmcache_admin.engine.remote.codec import Form
from lmcache_admin.engine.remote.opening import open_store
from lmcache_admin.engine.remote.protocol import Scope, Store, StoreDownError, StoreError, StoreRefusedError

__all__ = ["Form", "Scope", "Store", "StoreDownError", "StoreError", "StoreRefusedError", "masked", "open_store"]
