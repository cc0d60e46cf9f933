"""What OpenAPI says of a route: its body, and every status, content type and header that it may answer with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any, get_args, get_origin

from lmcache_admin.declaration import Declaration
from lmcache_admin.rendering import STYLES

#: Name of the schema of a failure's body, in the document's components.
ERROR = "Error"
_MEANINGS = {
    400: "The request cannot be carried out as it was put.",
    401: "This asks for credentials, and none that are good came with the request.",
    403: "The caller's role, Host or Origin does not allow this.",
    404: "There is no such thing, or this is switched off.",
    409: "This does not fit the state that things are in; nothing was changed.",
    410: "It was there and is kept no longer.",
    413: "The body is too large.",
    422: "A parameter has the wrong type; `errors` says which.",
    429: "Too many tries; `Retry-After` says when to come again.",
    500: "The operation failed; `error` and `message` say how.",
    501: "The host does not offer this; `missing` names what it lacks.",
    502: "The host answered something that its interface does not allow.",
    503: "The host lacks what this needs, or the lane is full (`Retry-After`).",
    504: "The host did not answer in time.",
}
_EVERY_ROUTE = (400, 401, 403, 413, 422, 500, 503, 504)
_HEADERS = {401: "WWW-Authenticate", 429: "Retry-After"}


def documented(view: Callable[..., Any], path: str, declaration: Declaration) -> dict[str, Any]:
    """Make what flask-smorest keeps of a view.

    Args:
        view: With what `arguments` has noted of its parameters.
        path: Its rule.
        declaration: What its endpoint file says of it.
    """
    docs: dict[str, Any] = deepcopy(getattr(view, "_apidoc", {}))
    responses = {"200": _success(view, declaration)}
    responses |= {str(status): _failure(status, declaration) for status in sorted(_failures(path, declaration))}
    manual: dict[str, Any] = {
        "x-operation": declaration.operation,
        "x-role": declaration.role,
        "x-lane": declaration.lane,
        "responses": responses,
    }
    if declaration.public == "always":
        manual["security"] = []
    if declaration.body:
        kind: Any = ["object", "null"] if declaration.body_optional else "object"
        schema = {"application/json": {"schema": {"type": kind}}}
        required = not declaration.body_optional
        manual["requestBody"] = {"description": declaration.body, "required": required, "content": schema}
    if declaration.begins_work:
        responses["202"] = {
            "description": "With `Prefer: respond-async`: begun; `Location` names the job.",
            "content": {"application/json": {"schema": {"type": "object"}}},
            "headers": _headers("Location", "Preference-Applied"),
        }
    docs["manual_doc"] = manual
    return docs


def _failures(path: str, declaration: Declaration) -> Iterator[int]:
    yield from {*_EVERY_ROUTE, *declaration.answers}
    if declaration.lane != "light":
        yield from (501, 502)
    if declaration.lane in ("change", "job"):
        yield 409
    if ("<" in path or declaration.switch) and 404 not in declaration.answers:
        yield 404


def _success(view: Callable[..., Any], declaration: Declaration) -> dict[str, Any]:
    content_type = STYLES[declaration.style][1].partition(";")[0]
    schema = _shape(view) if content_type == "application/json" else {"type": "string"}
    further: dict[str, Any] = {name: {} for name in declaration.content_types}
    return {"description": "Done.", "content": {content_type: {"schema": schema}, **further}}


def _failure(status: int, declaration: Declaration) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": {"$ref": f"#/components/schemas/{ERROR}"}}}
    if declaration.style == "text" or "text/plain" in declaration.content_types:
        content["text/plain"] = {"schema": {"type": "string"}}
    described: dict[str, Any] = {"description": _MEANINGS[status], "content": content}
    if status in _HEADERS:
        described["headers"] = _headers(_HEADERS[status])
    return described


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"required": True, "schema": {"type": "string"}} for name in names}


def _shape(view: Callable[..., Any]) -> dict[str, Any]:
    """The schema of what a view returns, as far as its annotation tells."""
    hint = getattr(view, "__annotations__", {}).get("return")
    if get_origin(hint) is tuple:
        hint = get_args(hint)[0]
    kind = get_origin(hint) or hint
    if kind in (dict, Mapping):
        return {"type": "object"}
    return {"type": "string"} if kind is str else {}
