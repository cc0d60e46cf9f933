"""How a scheduler asks its workers for the longest stored prefix: a client, a server, a Unix socket between them."""

from lmcache_admin.engine.lookup.client import LookupClient
from lmcache_admin.engine.lookup.hit_limit import HitLimitLookupClient
from lmcache_admin.engine.lookup.protocol import Client, HashedTokens
from lmcache_admin.engine.lookup.server import LookupServer

__all__ = ["Client", "HashedTokens", "HitLimitLookupClient", "LookupClient", "LookupServer"]
