"""What the configuration asks for: the lookup client of a scheduler, the lookup server of a worker."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from lmcache_admin.engine.configuration import Configuration, allowed_value
from lmcache_admin.engine.errors import ConfigurationError
from lmcache_admin.engine.lookup.client import LookupClient
from lmcache_admin.engine.lookup.hit_limit import HitLimitLookupClient
from lmcache_admin.engine.lookup.parts import LookupPartError
from lmcache_admin.engine.lookup.place import FOLDER, NAME, lookup_folder, socket_path
from lmcache_admin.engine.lookup.protocol import Client
from lmcache_admin.engine.lookup.server import LookupServer
from lmcache_admin.engine.metadata import Metadata
from lmcache_admin.engine.statistics import ChunkStatisticsLookupClient, StatisticsOptions
from lmcache_admin.socket_files import remove_stale

if TYPE_CHECKING:
    from lmcache_admin.engine.engine import Engine

Wrap = Callable[[Client], Client]


def make_client(config: Configuration, metadata: Metadata) -> Client:
    """Make the client that the configuration asks for, wrappers around it.

    Raises:
        ConfigurationError: A value that cannot be used.
        LookupPartError: It asks for something that this engine does not have.
    """
    wrappers = _wrappers(config, metadata)  # whatever is refused is refused before anything is made
    client: Client = _plain_client(config, metadata)
    for _, wrap in wrappers:
        client = wrap(client)
    return client


def describe_client(config: Configuration, metadata: Metadata) -> str:
    """The class names of what `make_client` would make; raises what that would, and opens nothing."""
    _paths(config, metadata)
    _timeout(config)
    text = LookupClient.__name__
    for name, _ in _wrappers(config, metadata):
        text = f"{name}({text})"
    return text


def make_server(engine: Engine, replacing: LookupServer | None = None) -> LookupServer | None:
    """Make a worker's server; None where the configuration gives this worker none.

    Args:
        engine: Whom it asks.
        replacing: The server that it takes the place of.

    Raises:
        ConfigurationError: A value that cannot be used.
        StartError: The socket cannot be had.
    """
    path = _own_path(engine)
    if path is None:
        return None
    if not engine.config.get_extra_config_value(FOLDER):  # the folder of this machine's own: what else is there is ours
        remove_stale(os.path.dirname(path), NAME)
    return LookupServer(engine, path, replacing=replacing is not None and replacing.path == path)


def describe_server(engine: Engine) -> str:
    """The class name of what `make_server` would make, or `None`."""
    return "None" if _own_path(engine) is None else LookupServer.__name__


def _plain_client(config: Configuration, metadata: Metadata) -> LookupClient:
    return LookupClient(
        _paths(config, metadata),
        metadata.chunk_size,
        _timeout(config),
        lambda: bool(config.save_unfull_chunk),
    )


def _wrappers(config: Configuration, metadata: Metadata) -> list[tuple[str, Wrap]]:
    """Name and maker of each wrapper, innermost first."""
    found: list[tuple[str, Wrap]] = []
    ratio = config.hit_miss_ratio
    if ratio is not None and 0 <= ratio <= 1:
        found.append((HitLimitLookupClient.__name__, partial(HitLimitLookupClient, miss_ratio=ratio)))
    if config.enable_chunk_statistics:
        options = StatisticsOptions.of(config, metadata.chunk_size)
        found.append((ChunkStatisticsLookupClient.__name__, partial(ChunkStatisticsLookupClient, options=options)))
    return found


def _timeout(config: Configuration) -> float:
    milliseconds: int = allowed_value(config, "lookup_timeout_ms")
    return milliseconds / 1000


def _own_path(engine: Engine) -> str | None:
    if engine.config.external_lookup_client is not None:
        return None
    return _all_paths(engine.config, engine.metadata).get(engine.metadata.worker_id)


def _paths(config: Configuration, metadata: Metadata) -> dict[int, str]:
    if config.external_lookup_client is not None:
        raise LookupPartError("external_lookup_client is set: the embedded engine asks its own workers only")
    return _all_paths(config, metadata)


def _all_paths(config: Configuration, metadata: Metadata) -> dict[int, str]:
    """Socket of each worker that has a server: those that are named, else all, of MLA's equal ones the first."""
    count = metadata.world_size
    workers = config.lookup_server_worker_ids or ([0] if metadata.use_mla else list(range(count)))
    if not all(0 <= worker < count for worker in workers):
        raise ConfigurationError("lookup_server_worker_ids", workers, f"workers from 0 to {count - 1}")
    if metadata.engine_id is None:
        raise LookupPartError("engine_id is not known: it names the sockets between scheduler and workers")
    folder = lookup_folder(config.extra_config)
    return {worker: socket_path(folder, metadata.engine_id, worker) for worker in dict.fromkeys(workers)}
