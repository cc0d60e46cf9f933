"""The contract's body styles: pretty and compact JSON, text, and pretty JSON sent as text."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flask import Response

from lmcache_admin.content import Content

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"

#: Largest JSON that leaves, bytes; what is larger is no answer that a host means (requirement S71).
MAX_ANSWER = 64 * 1024 * 1024
#: Styles that print what JSON has no form for; the others refuse it.
PRINTING = ("text", "pretty_text", "pretty_any")

Encode = Callable[[Any], str]

_quoted = json.encoder.encode_basestring_ascii
_WORDS = {None: "null", True: "true", False: "false"}
_compact = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def _indented(allow_nan: bool, default: Callable[[Any], str] | None = None) -> Encode:
    """`json.dumps` with indent 2, whose generators in Python an object's plain values can do without."""
    slow = json.JSONEncoder(indent=2, allow_nan=allow_nan, default=default).encode

    def line(value: Any) -> str:
        kind = type(value)
        if kind is str:
            return _quoted(value)
        if kind is bool or value is None:
            return _WORDS[value]
        if kind is int or (kind is float and math.isfinite(value)):
            return repr(value)
        return slow(value).replace("\n", "\n  ")  # no text of JSON holds a raw line break

    def encode(body: Any) -> str:
        if type(body) is not dict or not body or not all(type(key) is str for key in body):
            return slow(body)
        return "{\n  " + ",\n  ".join([f"{_quoted(key)}: {line(value)}" for key, value in body.items()]) + "\n}"

    return encode


#: Style name -> (encoder, content type). `pretty_text` and `pretty_any` print what JSON has no form for by `str()`.
STYLES: Mapping[str, tuple[Encode, str]] = {
    "pretty": (_indented(allow_nan=False), _JSON),
    "compact": (_compact, _JSON),
    "text": (str, _TEXT),
    "pretty_text": (_indented(allow_nan=True, default=str), _TEXT),  # the contract prints Infinity there
    "pretty_any": (_indented(allow_nan=False, default=str), _JSON),
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
        TypeError, ValueError: The body has no form in this style (NaN, a cycle, a foreign object), or is too large.
    """
    encode, content_type = STYLES[style]
    if isinstance(body, Content):
        payload, content_type = body.payload, body.content_type
    else:
        payload = encode(body).encode("utf-8", "backslashreplace")
        if len(payload) > MAX_ANSWER and content_type == _JSON:
            raise ValueError(f"the answer has {len(payload)} bytes, at most {MAX_ANSWER} are allowed")
    response = Answer(payload, status, content_type=content_type)
    if headers:
        response.headers.update(headers)
    return response
