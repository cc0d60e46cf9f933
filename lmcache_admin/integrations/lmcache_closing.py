"""Lets LMCache's remote backends close.

The connectors of Redis, S3 and some others end their executor by a call that waits, on the event loop of the storage
manager, for work on that very loop: closing such a backend in LMCache 0.5.6 stops all of its I/O for good, and the
process does not end on SIGTERM. Nothing of LMCache is changed but that one call of the connector that is to close.
Source: `AsyncPQExecutor.shutdown` of LMCache 0.5.6, and `close` of the connectors that await it.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

__all__ = ["let_all_close", "let_close", "parts"]

logger = logging.getLogger(__name__)

#: Seconds for what is being read and written to end.
PATIENCE = 5.0


def let_close(backend: object) -> None:
    """Have a backend's connector, if it is of that kind, end its executor without blocking the loop."""
    for part in parts(backend):
        executor = getattr(part, "pq_executor", None)
        waits = getattr(executor, "shutdown", None)
        if waits is None or not hasattr(executor, "shutdown_async") or inspect.iscoroutinefunction(waits):
            continue
        if not isinstance(waits, partial):
            executor.shutdown = partial(_end, executor)  # type: ignore[union-attr]  # it has that attribute


def let_all_close(manager: Any) -> None:
    """Do so for all of a manager's backends; what fails is logged, for the host is ending."""
    try:
        storage = getattr(manager.lmcache_engine, "storage_manager", None)
        for backend in list(getattr(storage, "storage_backends", {}).values()):
            let_close(backend)
    except Exception as error:  # noqa: BLE001 - whatever this host is like, its own stop must go on
        logger.warning("LMCache's backends may not close: %r", error)


def parts(backend: Any) -> Iterator[Any]:
    """A backend and what it wraps: for its audit, its connection, and that one's measuring and audit."""
    yield backend
    for place in ("real_backend", "connection", "_connector", "real_connector"):
        inner = getattr(backend, place, None)
        if inner is not None:
            yield from parts(inner)


async def _end(executor: Any, wait: bool = True) -> None:
    """End an executor once its queue is empty, or after a while."""
    if wait:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(executor._queue.join(), PATIENCE)
    await executor.shutdown_async(wait=False)
