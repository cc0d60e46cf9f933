"""Reading the list of jobs, one job and its result; cancelling one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import urlencode

from lmcache_admin.content import Content
from lmcache_admin.declaration import ROLES
from lmcache_admin.errors import Failure, Forbidden
from lmcache_admin.jobs import ENDED, STATES, Job

__all__ = ["MAX_OFFSET", "STATES", "cancel", "page", "read", "result"]

#: Tells whether whoever is asking has a role.
May = Callable[[str], bool]

#: Largest offset into the list, far beyond what is kept.
MAX_OFFSET = 1_000_000


class Registry(Protocol):
    """Where jobs are found."""

    def find(self, job_id: str, /) -> Job | None:
        """Return a job, or None."""

    def newest(self) -> list[Job]:
        """Return all jobs, newest first."""

    def cancel(self, job: Job, /) -> None:
        """Ask for a job's end."""


def page(registry: Registry, state: str, offset: int, limit: int) -> dict[str, Any]:
    """Return one page of the list: `{"jobs", "total", "offset", "limit", "next"}`."""
    chosen = [job for job in registry.newest() if state in ("", job.state)]
    following = {**({"state": state} if state else {}), "offset": offset + limit, "limit": limit}
    return {
        "jobs": [job.describe() for job in chosen[offset : offset + limit]],
        "total": len(chosen),
        "offset": offset,
        "limit": limit,
        "next": f"/jobs?{urlencode(following)}" if offset + limit < len(chosen) else None,
    }


def read(registry: Registry, job_id: str, may: May) -> dict[str, Any]:
    """Return one job and its result's body, null until it has ended, and for those who may not see it.

    Raises:
        Failure: 404, there is none of that id.
    """
    job = _job(registry, job_id)
    described = job.describe()
    outcome = job.outcome if described["state"] in ENDED else None  # it may end just now
    body: Any = None
    if outcome is not None and not job.dropped and _may_see(job, may):
        text = outcome.payload.decode()
        body = json.loads(text) if outcome.content_type.startswith("application/json") else text
    return {**described, "result": body}


def result(registry: Registry, job_id: str, may: May) -> tuple[Content, int]:
    """Return the answer that the job's own request gets, and its status.

    Raises:
        Failure: 404, there is none of that id; 409, it has not ended; 410, its result is kept no longer.
        Forbidden: It is an admin's.
    """
    job = _job(registry, job_id)
    if not _may_see(job, may):
        raise Forbidden(f"The result of this job is for the role {job.role}.")
    outcome = job.outcome
    if outcome is None:
        raise Failure(409, {"error": "No result", "message": f"The job {job.id} is {job.state}."})
    if job.dropped:
        text = "The request that waited for it has it." if not job.kept else "It made room for later results."
        raise Failure(410, {"error": "No result", "message": f"The job {job.id} is {job.state}. {text}"})
    return Content(outcome.payload, outcome.content_type), outcome.status


def cancel(registry: Registry, job_id: str) -> dict[str, Any]:
    """Ask for a job's end and return it.

    Raises:
        Failure: 404, there is none of that id; 409, it has ended.
    """
    job = _job(registry, job_id)
    if job.state in ENDED:
        raise Failure(409, {"error": "Not cancelled", "message": f"The job {job.id} has ended: {job.state}."})
    registry.cancel(job)
    return job.describe()


def _may_see(job: Job, may: May) -> bool:
    """What only an admin may ask for tells its answer to admins only."""
    return job.role != ROLES[-1] or may(job.role)


def _job(registry: Registry, job_id: str) -> Job:
    job = registry.find(job_id)
    if job is None:
        raise Failure(404, {"error": "No such job", "message": f"No job {job_id!r}; results are kept an hour."})
    return job
