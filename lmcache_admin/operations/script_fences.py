"""What keeps a script's own process from harm on this machine: tried once by a script that does nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from lmcache_admin.errors import Failure
from lmcache_admin.jobs import Job
from lmcache_admin.operations.script_process import execute

logger = logging.getLogger(__name__)

#: What a script must not reach -> the fences that keep it from that; one of them is enough.
KEPT_FROM = {
    "files of this machine": ("landlock", "files"),
    "the network": ("seccomp", "namespaces"),
    "other processes": ("seccomp",),
}
#: Seconds between two looks.
CHECK_INTERVAL = 3600.0
_PATIENCE = 30.0


class ScriptFences:
    """Tries the fences and says what is missing.

    Attributes:
        problems: What scripts are not kept from; empty while nothing is.
    """

    def __init__(self) -> None:
        self.problems: Mapping[str, str] = {}

    def check(self) -> None:
        """Start a process, and look at its fences; a change is one line in the log."""
        try:
            ended = execute(b"", (), {}, _PATIENCE, Job.detached())
            problem = "" if ended.kind else ended.text
        except Failure as failure:
            problem = str(failure.body)
        else:
            problem = problem or lacking(ended.fences)
        if not problem:
            logger.info("Scripts run in processes of their own: %s", ended.fences)
        elif problem != self.problems.get("run_script"):
            logger.warning("Scripts run in processes of their own: %s", problem)
        self.problems = {"run_script": problem} if problem else {}


def lacking(fences: Mapping[str, Any]) -> str:
    """Say what a script is not kept from by these fences, and why; empty if it is kept from all."""
    parts = []
    for what, names in KEPT_FROM.items():
        if not any(holds(fences, name) for name in names):
            reasons = ", ".join(f"{name}: {fences.get(name, 'not tried')}" for name in names)
            parts.append(f"{what} ({reasons})")
    return f"they are not kept from {'; '.join(parts)}" if parts else ""


def holds(fences: Mapping[str, Any], name: str) -> bool:
    """Tell whether a fence is there."""
    return name in fences and not isinstance(fences[name], str)
