"""Value kinds of the settings that name places and callers on a network."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from lmcache_admin.settings_values import Kind, NotAllowed, listed, optional, text_of

__all__ = [
    "ADDRESS",
    "HEADER_NAME",
    "HOST_NAMES",
    "OPTIONAL_ADDRESS",
    "ORIGINS",
    "PROXIES",
    "is_loopback",
]


def _address(value: object) -> str:
    text = text_of(value)
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        if not re.fullmatch(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?", text):
            raise NotAllowed from None
        if re.fullmatch(r"[\d.]+", text):  # 127.0.1 or 300.1.1.1: an address that was not finished
            raise NotAllowed from None
    return bare


def _host_name(value: object) -> str:
    text = text_of(value).lower().rstrip(".")
    if not re.fullmatch(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", text):
        raise NotAllowed
    return text


def _origin(value: object) -> str:
    text = text_of(value).lower()
    try:
        parts = urlsplit(text)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise NotAllowed from None
    if not fits or text != f"{parts.scheme}://{parts.netloc}" or "@" in parts.netloc or " " in text:
        raise NotAllowed
    return text


def _proxy(value: object) -> str:
    if value == "unix":
        return "unix"
    try:
        return str(ipaddress.ip_network(text_of(value)))
    except ValueError:
        raise NotAllowed from None


def _header_name(value: object) -> str:
    text = text_of(value)
    if not re.fullmatch(r"[A-Za-z0-9-]{1,100}", text):
        raise NotAllowed
    return text


ADDRESS = Kind("text", "an IP address or a host name", _address)
OPTIONAL_ADDRESS = optional(ADDRESS)
HOST_NAMES = listed("a list of host names without scheme and port", _host_name)
ORIGINS = listed("a list of origins such as https://admin.example:8443", _origin)
PROXIES = listed("a list of IP addresses, networks such as 10.0.0.0/8, and unix for the Unix socket", _proxy)
HEADER_NAME = optional(Kind("text", "the name of an HTTP header", _header_name))


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches a listener there; of names only localhost counts."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
