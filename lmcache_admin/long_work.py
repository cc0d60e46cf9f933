"""Long work of a request: run as a job; its request waits for the answer, or is told where it will be (RFC 7240)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from flask import Response, request

from lmcache_admin.content import Content
from lmcache_admin.declaration import Declaration
from lmcache_admin.error_handlers import answer_to
from lmcache_admin.errors import Failure, Forbidden
from lmcache_admin.host.current import current_arrival, current_service
from lmcache_admin.jobs import Job, Outcome, Work
from lmcache_admin.rendering import PRINTING, render
from lmcache_admin.serving.lanes import RESPOND_ASYNC, prefers_async

if TYPE_CHECKING:
    from collections.abc import Callable

    from lmcache_admin.security.redaction import Redactor
    from lmcache_admin.service import Service

#: Where the gate leaves what concludes the audit's entry: a job that goes on concludes it at its end.
CONCLUDE = "lmcache_admin.audit_conclude"
#: Where the gate leaves what tells whether the caller may still do this: a job may begin long after it was asked for.
RECHECK = "lmcache_admin.recheck"
#: A request gives its job up this much earlier than the lane would give up the request, as a share of the deadline.
_MARGIN, _MOST = 0.05, 1.0


def carry_out(work: Work, declaration: Declaration) -> Response:
    """Run a view's work as a job, and answer with its result, or with 202 if the request prefers that.

    Raises:
        Busy: No room for another job.
        Failure: 504, the job has not ended within the lane's deadline, and goes on.
    """
    service, asked = current_service(), request
    rule, path = asked.url_rule, asked.path
    route = f"{asked.method} {rule.rule if rule else path}"
    environ = asked.environ
    actor, note = environ.get("lmcache_admin.actor", ""), environ.get("lmcache_admin.note")
    job = Job(declaration.operation, route, actor, note, declaration.role, _asked())
    allowed: Callable[[], bool] | None = environ.get(RECHECK)
    service.jobs.submit(job, lambda begun: _outcome(_if_allowed(work, allowed), declaration, path, service, begun))
    if _prefers_async():
        _keep(service, job)
        headers = {"Location": f"/jobs/{job.id}", "Preference-Applied": RESPOND_ASYNC}
        return render(job.describe(), "compact", 202, headers)
    if job.wait(_patience(service.settings.deadlines["job"])):
        return _answer(job)
    _keep(service, job)
    raise Failure(
        504,
        {
            "error": f"Timed out: {declaration.operation}",
            "message": f"{route} has not ended within {service.settings.deadlines['job']:g} s; "
            f"it goes on as /jobs/{job.id}",
            "job": job.id,
        },
        {"Location": f"/jobs/{job.id}"},
    )


def answer_with(result: Any, declaration: Declaration, redactor: Redactor) -> Response:
    """Make the answer of a route: its body, or body and status, without secrets.

    Raises:
        Exception: The body cannot be masked, or has no form in the route's style.
    """
    body, status = result if isinstance(result, tuple) else (result, 200)
    if declaration.redacted and not isinstance(body, Content):
        body = redactor.mask_answer(body, declaration.style in PRINTING)
    return render(body, declaration.style, status)


def _if_allowed(work: Work, allowed: Callable[[], bool] | None) -> Work:
    def run(job: Job) -> Any:
        if allowed is not None and not allowed():
            raise Forbidden("The credentials that asked for this job are no longer good.")
        return work.run(job)

    return Work(run)


def _outcome(work: Work, declaration: Declaration, path: str, service: Service, job: Job) -> Outcome:
    try:
        job.checkpoint()
        response = answer_with(work.run(job), declaration, service.redactor)
    except BaseException as error:  # noqa: BLE001 - answered and logged; asking the process to end is a failure too
        response = answer_to(error, declaration, f"{job.route} (job {job.id})", path, service.redactor)
    own = {k: v for k, v in response.headers.items() if k.lower() not in ("content-type", "content-length")}
    return Outcome(response.status_code, response.get_data(), response.content_type or "", own)


def _answer(job: Job) -> Response:
    outcome = job.outcome
    if outcome is None:
        raise RuntimeError(f"the job {job.id} was lost; the log says how")
    job.drop_result()
    return Response(outcome.payload, outcome.status, outcome.headers, content_type=outcome.content_type)


def _asked() -> str:
    query = request.query_string.decode("utf-8", "replace")
    return f"{request.path}?{query}" if query else request.path


def _patience(deadline: float) -> float:
    return deadline - min(deadline * _MARGIN, _MOST) - (time.monotonic() - current_arrival())


def _prefers_async() -> bool:
    return prefers_async(",".join(request.headers.getlist("Prefer")))


def _keep(service: Service, job: Job) -> None:
    """Keep the job's result, and let its end conclude the audit's entry."""
    conclude: Callable[[int], Any] | None = request.environ.pop(CONCLUDE, None)

    def ended(job: Job) -> None:
        if conclude is not None:
            conclude(job.outcome.status if job.outcome else 500)

    service.jobs.keep(job, ended)
