"""Long work: what runs, how far it is, what came of it; and its end at the next safe point."""

from typing import Any

from lmcache_admin.blueprint import AdminBlueprint, Schema, fields, validate
from lmcache_admin.host.current import current_caller_may, current_jobs
from lmcache_admin.operations import jobs

blueprint = AdminBlueprint("jobs")


class JobsQuery(Schema):
    state = fields.Text(load_default="", validate=validate.OneOf(("", *jobs.STATES)))
    offset = fields.Integer(load_default=0, validate=validate.Range(0, jobs.MAX_OFFSET))
    limit = fields.Integer(load_default=50, validate=validate.Range(1, 1000))


@blueprint.get("/jobs", operation="list jobs", role="viewer", lane="light")
@blueprint.arguments(JobsQuery, location="query")
def list_jobs(query: dict[str, Any]) -> dict[str, Any]:
    """Return jobs, newest first, page by page; `next` is the following page's address, or null."""
    return jobs.page(current_jobs(), query["state"], query["offset"], query["limit"])


@blueprint.get("/jobs/<job_id>", operation="read a job", role="viewer", lane="light")
def get_job(job_id: str) -> dict[str, Any]:
    """Return a job with its progress and, for an hour after its end, its result."""
    return jobs.read(current_jobs(), job_id, current_caller_may)


@blueprint.get(
    "/jobs/<job_id>/result",
    operation="read a job's result",
    role="viewer",
    lane="light",
    answers=(409, 410, 501, 502),
    content_types=("text/plain",),
)
def get_job_result(job_id: str) -> Any:
    """Return what the request itself would have got, status and body alike; 409 while the job goes on."""
    return jobs.result(current_jobs(), job_id, current_caller_may)


@blueprint.post("/jobs/<job_id>/cancel", operation="cancel a job", role="operator", lane="change")
def cancel_job(job_id: str) -> dict[str, Any]:
    """Ask for a job's end at its next safe point; 409 when it has ended already."""
    return jobs.cancel(current_jobs(), job_id)
