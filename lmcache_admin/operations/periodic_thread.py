"""Listing the host's periodic threads, and finding those that are late or dead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmcache_admin.errors import Failure, Invalid
from lmcache_admin.host.protocols import PeriodicThreads

LEVELS = ("critical", "high", "medium", "low")


def listing(registry: PeriodicThreads | None, *, level: str, running_only: bool, active_only: bool) -> dict[str, Any]:
    """Return `summary` (of all threads, whatever the filters say) and `threads`.

    Raises:
        Invalid: `level` is none of `LEVELS`.
    """
    if level and level.lower() not in LEVELS:
        raise Invalid(f"Invalid level: {level}. Valid values: {', '.join(LEVELS)}")
    chosen = [
        status
        for status in _statuses(registry)
        if (not level or status["level"] == level.lower())
        and (not running_only or status["is_running"])
        and (not active_only or status["is_active"])
    ]
    return {"summary": _summary(registry), "threads": chosen}


def find(registry: PeriodicThreads | None, name: str) -> Mapping[str, Any]:
    """Return the state of one thread.

    Raises:
        Failure: 404, there is none of that name.
    """
    thread = registry.get(name) if registry is not None else None
    if thread is None:
        raise Failure(404, {"error": f"Thread not found: {name}"})
    status: Mapping[str, Any] = thread.get_status()
    return status


def health(registry: PeriodicThreads | None) -> dict[str, Any]:
    """Return which critical and high threads are late, or were started and have died."""
    late = [
        {key: status[key] for key in ("name", "level", "last_run_ago", "interval")}
        for wanted in LEVELS[:2]
        for status in _statuses(registry)
        if status["level"] == wanted and _ails(status)
    ]
    return {"healthy": not late, "unhealthy_count": len(late), "unhealthy_threads": late}


def _ails(status: Mapping[str, Any]) -> bool:
    """Late, or dead: it has run before, was not told to stop, and its thread is gone."""
    if status["is_running"]:
        return not status["is_active"]
    return bool(status.get("died", False))


def _statuses(registry: PeriodicThreads | None) -> list[Mapping[str, Any]]:
    return [thread.get_status() for thread in registry.get_all()] if registry is not None else []


def _summary(registry: PeriodicThreads | None) -> dict[str, Any]:
    if registry is None:
        none = {"total": 0, "running": 0, "active": 0}
        by_level = {level: dict(none) for level in LEVELS}
        return {"total_count": 0, "running_count": 0, "active_count": 0, "by_level": by_level}
    summary = registry.get_summary()
    return {key: summary[key] for key in ("total_count", "running_count", "active_count", "by_level")}
