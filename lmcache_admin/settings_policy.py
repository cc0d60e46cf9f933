"""Which settings together would let strangers in, or nobody; each is refused before anything listens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmcache_admin.settings_addresses import is_loopback
from lmcache_admin.settings_error import PolicyError
from lmcache_admin.settings_keys import PREFIX

if TYPE_CHECKING:
    from lmcache_admin.settings import Settings


def check_policy(settings: Settings) -> None:
    """Refuse a listener that asks nobody who calls, or a mode that lacks what it asks for.

    Raises:
        PolicyError: It names the key, the value and the remedies.
    """
    if settings.auth == "token" and settings.token_file is None and settings.user_file is None:
        raise _lacking("token", "token_file", "a file that `lmcache-admin token add` makes")
    if settings.auth == "proxy":
        _check_proxy(settings)
    elif settings.auth in ("local", "off"):
        _check_open(settings)


def _check_open(settings: Settings) -> None:
    if settings.socket_path_prefix is not None or is_loopback(settings.host):
        return
    if settings.auth == "off" and settings.allow_insecure:
        return
    remedy = f"a loopback address such as 127.0.0.1, or {PREFIX}socket_path_prefix for a Unix socket"
    if settings.auth == "off":
        remedy += f", or {PREFIX}allow_insecure: true, which lets everybody who reaches the port in as admin"
    else:
        remedy += f", or {PREFIX}auth: token with {PREFIX}token_file"
        remedy += f", or {PREFIX}auth: off with {PREFIX}allow_insecure: true, which lets everybody in"
    reason = f"{PREFIX}auth is {settings.auth!r}, which asks nobody who calls"
    raise PolicyError(f"{PREFIX}host", settings.host, remedy, reason=reason)


def _check_proxy(settings: Settings) -> None:
    for name in ("proxy_user_header", "proxy_role_header"):
        if getattr(settings, name) is None:
            raise _lacking("proxy", name, "the header in which the proxy names it")
    networks = [place for place in settings.trusted_proxy if place != "unix"]
    if settings.socket_path_prefix is None and not networks:
        raise _lacking("proxy", "trusted_proxy", f"the proxy's address, or {PREFIX}socket_path_prefix")
    if any(place.endswith("/0") for place in networks) and not settings.allow_insecure:
        remedy = f"the proxy's address, or {PREFIX}allow_insecure: true, which lets everybody say who they are"
        raise PolicyError(f"{PREFIX}trusted_proxy", list(networks), remedy, reason="everybody is in that network")


def _lacking(mode: str, name: str, allowed: str) -> PolicyError:
    return PolicyError(f"{PREFIX}{name}", None, allowed, reason=f"{PREFIX}auth is {mode!r}, which needs it")
