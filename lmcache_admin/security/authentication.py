"""Who is calling, by the mode of the settings; a caller without a role is nobody."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from lmcache_admin.declaration import ROLES
from lmcache_admin.security.callers import Caller, local_caller, over_unix_socket, socket_uid
from lmcache_admin.security.login import Login
from lmcache_admin.security.private_files import WatchedFile
from lmcache_admin.security.tokens import LONGEST, Token, find_token, parse_tokens

if TYPE_CHECKING:
    from lmcache_admin.settings import Settings

_BEARER = "bearer "


class Authentication:
    """Finds the caller of a request.

    Args:
        settings: The mode, and what it needs.
        login: Sessions of browsers.

    Raises:
        SettingsError: A file of credentials cannot be used.
    """

    def __init__(self, settings: Settings, login: Login) -> None:
        self.mode = settings.auth
        self._login = login
        #: Whether this mode asks for credentials: who has none gets 401, for every path but the open ones.
        self.asks = settings.auth in ("token", "proxy")
        self._any_user = settings.local_users == "any"
        self._tokens = _watched_tokens(settings)
        self._proxies = [ip_network(network) for network in settings.trusted_proxy]
        self._user_header = _variable(settings.proxy_user_header)
        self._role_header = _variable(settings.proxy_role_header)
        self._users, self._groups = settings.socket_users, settings.socket_groups

    @property
    def problems(self) -> dict[str, str]:
        """Files of credentials that cannot be read any more -> why; what they said before counts."""
        watched: dict[str, WatchedFile[Any] | None] = {"token_file": self._tokens, "user_file": self._login.users}
        return {name: file.problem for name, file in watched.items() if file is not None and file.problem}

    def caller(self, environ: Mapping[str, Any], role: str) -> Caller:
        """Find the caller of a request.

        Args:
            environ: The request's WSGI environment.
            role: The least role that the route asks for: who needs none is not looked up in the kernel.
        """
        address = str(environ.get("REMOTE_ADDR") or "unix")
        if self.mode == "off":
            return Caller("anybody", ROLES[-1], address, None)
        unix = over_unix_socket(environ)
        if unix and (self._users or self._groups):
            mapped = self._socket_user(environ)
            if mapped is not None:
                return mapped
        if self.mode == "token":
            return self._holder(environ, address)
        if self.mode == "proxy":
            return self._passed_on(environ, address, unix)
        if role == ROLES[0]:
            return Caller("local client", ROLES[0], address, None)
        return local_caller(environ, self._any_user)

    def still_allowed(self, environ: Mapping[str, Any], role: str) -> bool:
        """Tell whether the caller's credentials are still good, when what was asked for begins later (S16)."""
        return self.mode != "token" or self.caller(environ, role).may(role)

    def _holder(self, environ: Mapping[str, Any], address: str) -> Caller:
        session = self._login.session(environ)
        user = self._login.user(session) if session is not None else None
        if user is not None:
            return Caller(f"user {user.name}", user.role, address, None)
        given = environ.get("HTTP_AUTHORIZATION", "")
        secret = given[len(_BEARER) :].strip() if given[: len(_BEARER)].lower() == _BEARER else ""
        if self._tokens is None or not secret.isascii() or not 0 < len(secret) <= LONGEST:
            return Caller("nobody", "", address, None)
        token = find_token(self._tokens.value(), secret)
        if token is None:
            return Caller("nobody", "", address, None)
        return Caller(f"token {token.name}", token.role, address, None)

    def _passed_on(self, environ: Mapping[str, Any], address: str, unix: bool) -> Caller:
        user, role = environ.get(self._user_header, ""), environ.get(self._role_header, "").strip().lower()
        trusted = unix or _is_in(environ.get("REMOTE_ADDR") or "", tuple(self._proxies))
        if not trusted or not user.strip() or role not in ROLES:
            return Caller("nobody", "", address, None)
        return Caller(f"user {user.strip()[:200]}", role, address, socket_uid(environ) if unix else None)

    def _socket_user(self, environ: Mapping[str, Any]) -> Caller | None:
        uid = socket_uid(environ)
        if uid is None:
            return None
        roles = [self._users.get(name) for name in (str(uid), _user_name(uid))]
        roles += [self._groups.get(name) for name in _group_names(uid)]
        best = max((ROLES.index(role) for role in roles if role), default=None)
        return None if best is None else Caller(f"uid {uid}", ROLES[best], "unix", uid)


def _watched_tokens(settings: Settings) -> WatchedFile[tuple[Token, ...]] | None:
    if settings.token_file is None or settings.auth != "token":
        return None
    return WatchedFile("internal_api_server_token_file", settings.token_file, parse_tokens)


def _variable(header: str | None) -> str:
    """The name of a header in a WSGI environment."""
    return f"HTTP_{header.upper().replace('-', '_')}" if header else ""


@lru_cache(maxsize=1024)
def _is_in(address: str, networks: tuple[Any, ...]) -> bool:
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    plain = getattr(ip, "ipv4_mapped", None) or ip
    return any(plain in network for network in networks)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _group_names(uid: int) -> list[str]:
    try:
        account = pwd.getpwuid(uid)
        numbers = os.getgrouplist(account.pw_name, account.pw_gid)
    except (KeyError, OSError):
        return []
    names = []
    for number in numbers:
        names.append(str(number))
        try:
            names.append(grp.getgrgid(number).gr_name)
        except KeyError:
            continue
    return names
