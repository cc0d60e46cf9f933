"""A lookup client that keeps statistics, in front of a worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lmcache_admin.engine import Manager
from lmcache_admin.engine.statistics import ChunkStatisticsLookupClient

MakeManager = Callable[..., Manager]


@pytest.fixture
def counting(make_manager: MakeManager) -> Callable[..., ChunkStatisticsLookupClient]:
    """Start schedulers with such a client; keys of the file as arguments, those under extra_config as `extra`."""

    def make(extra: dict[str, Any] | None = None, **keys: Any) -> ChunkStatisticsLookupClient:
        prefixed = {f"chunk_statistics_{name}": value for name, value in (extra or {}).items()}
        values = {"enable_chunk_statistics": True, "extra_config": prefixed, **keys}
        client = make_manager("scheduler", **values).lookup_client
        assert isinstance(client, ChunkStatisticsLookupClient)
        return client

    return make
