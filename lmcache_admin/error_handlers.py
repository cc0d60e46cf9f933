"""The one place that turns failures into answers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from flask import Request, Response, current_app, request
from werkzeug.exceptions import HTTPException

from lmcache_admin.declaration import UNDECLARED, Declaration
from lmcache_admin.errors import Failure
from lmcache_admin.host.missing import missing_part
from lmcache_admin.rendering import render

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.wrappers import Response as BaseResponse

    from lmcache_admin.security.redaction import Redactor

logger = logging.getLogger(__name__)


def register_error_handlers(app: Flask) -> None:
    """Give `app` the handlers that make every failure an answer in the service's forms."""
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _failed)


def declaration_of(asked: Request) -> Declaration:
    """What the endpoint file says of the route that a request takes."""
    rule = asked.url_rule
    view = current_app.view_functions.get(rule.endpoint) if rule else None
    declaration: Declaration = getattr(view, "declaration", UNDECLARED)
    return declaration


def _http_error(error: HTTPException) -> BaseResponse:
    if error.code in (404, 405) and (redirect := _without_trailing_slash()):
        return redirect
    if error.response is not None:
        return Response.force_type(cast("BaseResponse", error.response))
    code = error.code or 500
    body: dict[str, Any] = {"error": error.name, "message": _explain(code, error), "detail": error.name}
    data = getattr(error, "data", None) or {}
    if "messages" in data:
        errors = {place.removeprefix("optional_"): found for place, found in data["messages"].items()}
        body = {"error": "Invalid parameters", "message": _first_reason(errors), "errors": errors}
    headers = {k: v for k, v in error.get_headers() if k.lower() not in ("content-type", "content-length")}
    return render(_masked_reasons(body), "compact", code, {**headers, **(data.get("headers") or {})})


def _explain(code: int, error: HTTPException) -> str:
    if code == 404:
        return f"No route {_asked_path()!r}; GET /blueprints lists the routes."
    if code == 405:
        methods = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
        return f"{request.method} is not allowed for {request.path!r}; allowed: {methods or 'nothing'}."
    if code == 413:
        return f"The body is too large; allowed: {current_app.config['MAX_CONTENT_LENGTH']} bytes."
    return error.description or error.name


def _asked_path() -> str:
    """The path as it was asked for; `request.path` has lost all but one of its first slashes."""
    asked: str = request.environ["PATH_INFO"]
    return "/" * (len(asked) - len(asked.lstrip("/")) - 1) + request.path


def _first_reason(messages: Mapping[str, Any]) -> str:
    """The first fault of a webargs error table as one line, such as `query.worker_id: Not a valid integer.`"""
    path: list[str] = []
    node: Any = messages
    while isinstance(node, Mapping) and node:
        key, node = next(iter(node.items()))
        path.append(str(key))
    reason = node[0] if isinstance(node, list) and node else node
    return f"{'.'.join(path)}: {reason}"


def _without_trailing_slash() -> Response | None:
    """The 307 of the contract for a path with one slash too many, as a relative address."""
    path = _asked_path()
    bare = path.rstrip("/")
    if not bare or bare == path or path.startswith("//"):
        return None
    adapter = current_app.create_url_adapter(request)
    if adapter is None or not adapter.allowed_methods(bare):
        return None
    response = Response(status=307)
    response.autocorrect_location_header = False
    query = request.query_string.decode("latin-1")
    prefix = request.environ.get("SCRIPT_NAME", "").rstrip("/")
    response.headers["Location"] = str(_masked(prefix + bare + (f"?{query}" if query else "")))
    del response.headers["Content-Type"]
    return response


def _failed(error: Exception) -> Response:
    asked = f"{request.method} {request.path!r}"
    return answer_to(error, declaration_of(request), asked, request.path, _redactor())


def answer_to(error: BaseException, declaration: Declaration, asked: str, path: str, redactor: Redactor) -> Response:
    """Make the answer that says how an operation failed; needs no request. What nobody expected is logged.

    Args:
        error: What was raised.
        declaration: Of the route that failed.
        asked: What was asked for, for the log.
        path: The request's path, for the wording.
        redactor: Masks secrets in the answer.
    """
    if isinstance(error, Failure):
        body = error.answer(declaration, path)
        style = "text" if isinstance(body, str) else error.style or declaration.error_style
        return render(redactor.mask(body), style, error.status, error.headers)
    missing = missing_part(error)
    if missing is not None:
        return answer_to(missing, declaration, asked, path, redactor)
    logger.error("%s failed", asked, exc_info=error)
    text = _text_of(error) if isinstance(error, Exception) else f"it ended with {type(error).__name__}"
    if declaration.failure == "detail":
        return render(redactor.mask({"detail": text}), declaration.error_style, 500)
    failed: dict[str, Any] = {"error": f"Failed to {declaration.operation}", "message": text}
    if declaration.exception_type:
        failed |= {
            "message": text or f"Exception type: {type(error).__name__}",
            "exception_type": type(error).__name__,
        }
    return render(redactor.mask(failed), declaration.error_style, 500)


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a foreign exception's own __str__ may raise anything
        return type(error).__name__


def _masked_reasons(body: Any) -> Any:
    """Mask each text by itself: what is wrong with a field named `password` is no password."""
    if isinstance(body, Mapping):
        return {name: _masked_reasons(inner) for name, inner in body.items()}
    if isinstance(body, list):
        return [_masked_reasons(inner) for inner in body]
    return _masked(body) if isinstance(body, str) else body


def _masked(body: Mapping[str, Any] | str) -> Mapping[str, Any] | str:
    masked: Mapping[str, Any] | str = _redactor().mask(body)
    return masked


def _redactor() -> Redactor:
    redactor: Redactor = current_app.extensions["lmcache_admin"].redactor
    return redactor
