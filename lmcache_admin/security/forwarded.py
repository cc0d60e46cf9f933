"""What a trusted proxy says of the client before it; what anybody else says so is taken out."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from lmcache_admin.security.callers import over_unix_socket

if TYPE_CHECKING:
    from lmcache_admin.settings import Settings

#: Where the client's address is kept, if a trusted proxy told it.
CLIENT = "lmcache_admin.client"
_FORWARDED = "HTTP_X_FORWARDED_"
_PREFIX = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")


class Proxies:
    """The proxies that the settings trust.

    Args:
        settings: `trusted_proxy`, and the headers of mode `proxy`, where whoever reaches the socket is trusted too.
    """

    def __init__(self, settings: Settings) -> None:
        self.user_header = _variable(settings.proxy_user_header)
        self.role_header = _variable(settings.proxy_role_header)
        self._networks = tuple(ip_network(place) for place in settings.trusted_proxy if place != "unix")
        self._socket = settings.auth == "proxy" or "unix" in settings.trusted_proxy
        self._local = settings.auth == "local"

    def trusts(self, environ: Mapping[str, Any]) -> bool:
        """Tell whether the other end of this connection is a trusted proxy."""
        if over_unix_socket(environ):
            return self._socket
        return bool(self._networks) and _is_in(environ.get("REMOTE_ADDR") or "", self._networks)

    def read(self, environ: MutableMapping[str, Any]) -> None:
        """Take over what a trusted proxy says: scheme, prefix, client; take out what others say."""
        if self._local:  # there whatever a proxy passes on is refused, and these headers are how it is known
            return
        if self.trusts(environ):
            self._take_over(environ)
            return
        for name in [name for name in environ if name.startswith(_FORWARDED)]:
            del environ[name]
        for name in (self.user_header, self.role_header):
            environ.pop(name, None)

    def _take_over(self, environ: MutableMapping[str, Any]) -> None:
        scheme = environ.get(f"{_FORWARDED}PROTO", "").rpartition(",")[2].strip().lower()
        if scheme in ("http", "https"):
            environ["wsgi.url_scheme"] = scheme
        prefix = environ.get(f"{_FORWARDED}PREFIX", "").rstrip("/")
        if _PREFIX.fullmatch(prefix):
            environ["SCRIPT_NAME"] = prefix
        for told in reversed(environ.get(f"{_FORWARDED}FOR", "").split(",")):
            address = _address(told)
            if not address:
                break
            environ[CLIENT] = address  # each proxy appends whom it saw: the first that is none of ours, from behind
            if not _is_in(address, self._networks):
                break


def client_address(environ: Mapping[str, Any]) -> str:
    """The client's IP address as far as it can be known; `unix` over a Unix socket."""
    told: str | None = environ.get(CLIENT)
    if told:
        return told
    return "unix" if over_unix_socket(environ) else str(environ.get("REMOTE_ADDR") or "unix")


def _variable(header: str | None) -> str:
    """The name of a header in a WSGI environment."""
    return f"HTTP_{header.upper().replace('-', '_')}" if header else ""


def _address(text: str) -> str:
    """An IP address without its port; "" for anything else."""
    text = text.strip()
    bare = text[1:].partition("]")[0] if text.startswith("[") else text
    if bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        return str(ip_address(bare))
    except ValueError:
        return ""


@lru_cache(maxsize=1024)
def _is_in(address: str, networks: tuple[Any, ...]) -> bool:
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    plain = getattr(ip, "ipv4_mapped", None) or ip
    return any(plain in network for network in networks)
