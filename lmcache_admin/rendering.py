"""The contract's body styles: pretty and compact JSON, text, and pretty JSON sent as text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flask import Response

from lmcache_admin.content import Content

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"

_quoted = json.encoder.encode_basestring_ascii
_plain = json.JSONEncoder().encode
_FLAT = {str, int, bool, type(None)}
_compact = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_indented = json.JSONEncoder(indent=2, allow_nan=False).encode
_pretty_any = json.JSONEncoder(indent=2, allow_nan=False, default=str).encode
_pretty_text = json.JSONEncoder(indent=2, default=str).encode  # the contract prints Infinity there


def _pretty(body: Any) -> str:
    """As `json.dumps(body, indent=2)`, whose generators in Python a small flat answer can do without."""
    if type(body) is not dict or not body or not _FLAT.issuperset(map(type, body.values())):
        return _indented(body)
    if not all(type(key) is str for key in body):
        return _indented(body)
    return "{\n  " + ",\n  ".join([f"{_quoted(key)}: {_plain(value)}" for key, value in body.items()]) + "\n}"


#: Style name -> (encoder, content type). `pretty_text` and `pretty_any` print what JSON has no form for by `str()`.
STYLES: Mapping[str, tuple[Callable[[Any], str], str]] = {
    "pretty": (_pretty, _JSON),
    "compact": (_compact, _JSON),
    "text": (str, _TEXT),
    "pretty_text": (_pretty_text, _TEXT),
    "pretty_any": (_pretty_any, _JSON),
}


class Answer(Response):
    """An answer whose bytes and headers are complete when it is made, so that nothing is left to do on sending."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Send it; HEAD gets no body."""
        start_response(self.status, self.headers.to_wsgi_list())
        return () if environ["REQUEST_METHOD"] == "HEAD" else (self.get_data(),)


def render(body: Any, style: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Make the answer to a request.

    Args:
        body: Anything that the style can encode, or a `Content`.
        style: A key of `STYLES`.
        status: HTTP status.
        headers: Further headers.

    Raises:
        TypeError, ValueError: The body has no form in this style (NaN, a cycle, a foreign object).
    """
    encode, content_type = STYLES[style]
    if isinstance(body, Content):
        payload, content_type = body.payload, body.content_type
    else:
        payload = encode(body).encode("utf-8", "backslashreplace")
    response = Answer(payload, status, content_type=content_type)
    if headers:
        response.headers.update(headers)
    return response
