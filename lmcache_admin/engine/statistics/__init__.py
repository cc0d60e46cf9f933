"""How often chunks come again: a wrapper around the lookup client that counts what is looked up."""

from lmcache_admin.engine.statistics.bloom import BloomFilter
from lmcache_admin.engine.statistics.client import ChunkStatisticsLookupClient
from lmcache_admin.engine.statistics.options import StatisticsOptions

__all__ = ["BloomFilter", "ChunkStatisticsLookupClient", "StatisticsOptions"]
