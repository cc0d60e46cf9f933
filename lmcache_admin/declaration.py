"""What a route says about itself: the facts that gate, lanes, errors, OpenAPI and listings are made from."""

from __future__ import annotations

from dataclasses import dataclass

#: Roles in rising order; each may do what those before it may.
ROLES = ("viewer", "operator", "admin")
#: Kinds of process: scheduler, worker or embedded engine; LMCache's controller; our gateway.
KINDS = ("engine", "controller", "gateway")
#: Lanes: `light` never calls the host, `read` is one quick call on it, `change` changes something, `job` is long work.
LANES = ("light", "read", "change", "job")


@dataclass(frozen=True)
class Declaration:
    """One route's facts.

    Args:
        operation: What it does, to follow "Failed to".
        role: The least role that may call it.
        lane: One of `LANES`.
        style: How a result is rendered, see `rendering`.
        public: Whether it answers without credentials where others are asked for: `always`, or the name of the
            setting that says so; empty: never. One that changes something says itself when the change begins.
        quick: Whether it is short enough to be answered without a thread of its own.
        destructive: Whether what it drops cannot be had back: the audit has it on the medium before it begins.
        begins_work: Whether its view returns `Work`, so that a request may prefer not to wait; told by its annotation.
        changes_if: Query parameters whose presence makes a read a change (and asks for the role operator).
        switch: Name of the setting that has to be true for this to exist; otherwise `switched_off` is answered.
        switched_off: Text of the 404 while `switch` is false.
        unavailable: Wording of 503, with `{path}`.
        failure: Form of an unexpected failure: `error` or `detail`.
        exception_type: Whether an unexpected failure names its exception's type.
        body: What the body is, for OpenAPI, where no schema says it: a JSON object of any keys.
        body_optional: Whether that body may be absent or null.
        answers: Statuses of failures that OpenAPI cannot know of, beside those of every route of this form and lane.
        content_types: Content types that it answers with beside its style's.
        recorded_file: Name of an uploaded file whose content is in the audit.
        redacted: Whether secrets in the result are masked; only for one that holds none, or is masked already, not.
    """

    operation: str
    role: str
    lane: str
    style: str = "compact"
    public: str = ""
    quick: bool = False
    begins_work: bool = False
    destructive: bool = False
    changes_if: tuple[str, ...] = ()
    switch: str | None = None
    switched_off: str = ""
    unavailable: str = "{path} API is unavailable"
    failure: str = "error"
    exception_type: bool = False
    body: str = ""
    body_optional: bool = False
    answers: tuple[int, ...] = ()
    content_types: tuple[str, ...] = ()
    recorded_file: str = ""
    redacted: bool = True

    @property
    def error_style(self) -> str:
        """Style of error bodies that are objects: a text route still answers objects as JSON."""
        return "pretty" if self.style in ("pretty", "pretty_any") else "compact"


#: A plain Flask view of an operator's, which declares nothing.
UNDECLARED = Declaration(operation="serve this route", role="admin", lane="change")
