"""The embedded engine has the whole host surface: mypy compares each class with its protocol."""

from lmcache_admin import engine
from lmcache_admin.engine.statistics import ChunkStatisticsLookupClient
from lmcache_admin.host import optional, protocols


def manager(part: engine.Manager) -> protocols.Manager:
    return part


def cache(part: engine.Engine) -> protocols.Engine:
    return part


def storage(part: engine.StorageManager) -> protocols.StorageManager:
    return part


def configuration(part: engine.Configuration) -> protocols.Configuration:
    return part


def metadata(part: engine.Manager) -> protocols.Metadata | None:
    return part.lmcache_engine_metadata


def connector(part: engine.Engine) -> protocols.Connector:
    return part.gpu_connector


def lookups(part: engine.Manager) -> protocols.LookupManager:
    return part


def statistics(part: ChunkStatisticsLookupClient) -> protocols.StatisticsClient:
    return part


def versioned(part: engine.Manager) -> optional.Versioned:
    return part


def lookup_owner(part: engine.Manager) -> optional.LookupOwner:
    return part


def watched(part: engine.Engine) -> optional.Watched:
    return part


def loading(part: engine.Engine) -> optional.Loading:
    return part


def healthy(part: engine.Engine) -> optional.Healthy:
    return part


def counted(part: engine.StorageManager) -> optional.Counted:
    return part


def allocating(part: engine.StorageManager) -> optional.Allocating:
    return part


def probed(part: engine.StorageManager) -> optional.Probed:
    return part
