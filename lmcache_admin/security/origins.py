"""Which names this server answers to, and which pages may ask: against rebinding and foreign pages."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

_HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9.-]+))(?::\d{1,5})?")
_PROXY = ("HTTP_FORWARDED", "HTTP_VIA")
_TELLING = ("HTTP_SEC_FETCH_", "HTTP_X_FORWARDED_")


@lru_cache(maxsize=256)
def host_is_ours(host: str, allowed: Collection[str], loopback_only: bool) -> bool:
    """Tell whether a Host header names this server.

    Args:
        host: The header.
        allowed: Names that the settings list (lower case).
        loopback_only: Whether other IP literals than loopback ones are refused.
    """
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = (match["six"] or match["name"]).lower()
    if name == "localhost" or name in allowed:
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or not loopback_only


def sent_by(environ: Mapping[str, Any]) -> tuple[bool, bool]:
    """Tell whether a browser sent this request, and whether a reverse proxy passed it on.

    What a page makes a browser send has an Origin or some `Sec-Fetch-*`; a proxy leaves one of its own headers.
    """
    telling = [name for name in environ if name.startswith(_TELLING)]
    browser = "HTTP_ORIGIN" in environ or any(name.startswith(_TELLING[0]) for name in telling)
    proxied = any(name in environ for name in _PROXY) or any(name.startswith(_TELLING[1]) for name in telling)
    return browser, proxied


def is_loopback(address: str) -> bool:
    """Tell whether a client's address is of this machine; over a Unix socket there is none."""
    return address in ("", "localhost", "::1") or address.startswith(("127.", "::ffff:127."))


def refusal_of_page(
    environ: Mapping[str, Any], changes: bool, allowed: Collection[str], csrf_fits: bool
) -> str | None:
    """Say why a browser-borne request is refused, or None.

    Args:
        environ: WSGI environment.
        changes: Whether the route would change something.
        allowed: Origins that the settings list.
        csrf_fits: Whether the token of this browser's session came with it, or the route needs none.
    """
    origin = environ.get("HTTP_ORIGIN")
    ours = f"{environ.get('wsgi.url_scheme', 'http')}://{environ.get('HTTP_HOST', '')}"
    listed = origin is not None and origin in allowed
    if origin is not None and origin != ours and not listed:
        return f"The origin {origin!r} is not this server's and is not in internal_api_server_allowed_origins."
    site = environ.get("HTTP_SEC_FETCH_SITE", "same-origin")
    if not listed and site != "same-origin" and (changes or site != "none"):
        return f"A page of another site asked (Sec-Fetch-Site: {site!r})."
    if changes and not csrf_fits:
        return "A change from a browser needs the CSRF token of its session, in X-CSRF-Token; GET /session tells it."
    return None
