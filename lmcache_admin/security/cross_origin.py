"""What a listed origin's pages may do: read, and change with a token; no answer tells any other origin anything."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from flask import Response
from werkzeug.datastructures import Headers

_QUESTION = "HTTP_ACCESS_CONTROL_REQUEST_METHOD"
_METHODS = "GET, POST, PUT, DELETE"
_HEADERS = "Authorization, Content-Type, Prefer"


class CrossOrigin:
    """The headers of the Fetch standard for the origins that a setting lists (S36).

    Args:
        origins: Listed, such as `https://ops.example`.
        mode: How callers are known: credentials that a page can bring from elsewhere are those of mode `token`.
    """

    def __init__(self, origins: Collection[str], mode: str) -> None:
        self._origins = frozenset(origins)
        self._mode = mode

    def is_question(self, environ: Mapping[str, Any]) -> bool:
        """Tell whether a browser asks, before it sends a listed page's request, whether it may."""
        return self._listed(environ) and environ["REQUEST_METHOD"] == "OPTIONS" and _QUESTION in environ

    def answer(self) -> Response:
        """Say yes; what the request itself may do is decided when it comes."""
        response = Response(status=204)
        response.headers["Access-Control-Allow-Methods"] = _METHODS
        response.headers["Access-Control-Allow-Headers"] = _HEADERS
        response.headers["Access-Control-Max-Age"] = "600"
        del response.headers["Content-Type"]
        return response

    def needs_no_session(self, environ: Mapping[str, Any]) -> bool:
        """Tell whether a change comes with a token: no page of somebody else's can make a browser send that."""
        if self._mode != "token" or not self._listed(environ):
            return False
        return str(environ.get("HTTP_AUTHORIZATION", "")).lower().startswith("bearer ")

    def allow(self, environ: Mapping[str, Any], headers: Headers) -> None:
        """Let a listed page read the answer; never with cookies."""
        if not self._origins:
            return
        headers["Vary"] = "Cookie, Authorization, Origin"
        if self._listed(environ):
            headers["Access-Control-Allow-Origin"] = environ["HTTP_ORIGIN"]
            headers["Access-Control-Expose-Headers"] = "Location, Retry-After"

    def _listed(self, environ: Mapping[str, Any]) -> bool:
        return environ.get("HTTP_ORIGIN") in self._origins
