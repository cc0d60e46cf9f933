"""Statistics of how often chunks come again, which a lookup client keeps."""

from __future__ import annotations

import time
from typing import Any, cast

from lmcache_admin.errors import Invalid, expect
from lmcache_admin.host.protocols import StatisticsClient

_METHODS = ("start_statistics", "stop_statistics", "reset_statistics", "get_statistics")
#: Wrappers around a lookup client that are looked through; a stand-in may answer any name for ever.
_DEPTH = 8


def keeper(client: Any) -> StatisticsClient:
    """Return the lookup client, or the one that it wraps, that keeps statistics.

    Raises:
        Invalid: None of them does.
    """
    for _ in range(_DEPTH):
        if all(callable(getattr(client, name, None)) for name in _METHODS):
            return cast("StatisticsClient", client)
        client = getattr(client, "actual_lookup_client", None)
    raise Invalid("Not available", "Client does not support statistics.")


def describe(client: StatisticsClient, config: object) -> dict[str, Any]:
    """Return the figures, and what ends the keeping by itself.

    Args:
        client: Which keeps them; it may wait some seconds for its queue.
        config: The engine's configuration.
    """
    figures = expect(dict, client.get_statistics(), "get_statistics()", "an object")
    hours = getattr(config, "chunk_statistics_auto_exit_timeout_hours", None)
    target = getattr(config, "chunk_statistics_auto_exit_target_unique_chunks", None)
    return {
        **figures,
        "timestamp": time.time(),
        "auto_exit_enabled": (hours or 0) > 0 or (target or 0) > 0,
        "auto_exit_timeout_hours": hours,
        "auto_exit_target_unique_chunks": target,
    }
