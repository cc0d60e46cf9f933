"""Who is calling, by the mode of the settings; a caller without a role is nobody."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from lmcache_admin.declaration import ROLES
from lmcache_admin.metrics_listener import OPEN
from lmcache_admin.security.callers import Caller, Peer, local_caller, over_unix_socket, socket_peer
from lmcache_admin.security.forwarded import Proxies, client_address
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
        self.proxies = Proxies(settings)
        self._any_user = settings.local_users == "any"
        self._tokens = _watched_tokens(settings)
        self._users, self._groups = settings.socket_users, settings.socket_groups

    @property
    def problems(self) -> dict[str, str]:
        """Files of credentials that cannot be read any more -> why; what they said before counts."""
        watched: dict[str, WatchedFile[Any] | None] = {"token_file": self._tokens, "user_file": self._login.users}
        return {name: file.problem for name, file in watched.items() if file is not None and file.problem}

    def caller(self, environ: MutableMapping[str, Any], role: str) -> Caller:
        """Find the caller of a request.

        Args:
            environ: The request's WSGI environment, after `Proxies.read`.
            role: The least role that the route asks for: who needs none is not looked up in the kernel.
        """
        if OPEN in environ:  # whoever reaches the second listener is nobody, whatever the mode: it is for the network
            return _nobody(client_address(environ))
        if self.mode == "off":
            return Caller("anybody", ROLES[-1], client_address(environ), None)
        named = self._passed_on(environ) if self.mode == "proxy" else None
        if named is not None:
            return named
        mapped = self._socket_user(environ) if self._users or self._groups else None
        if mapped is not None:
            return mapped
        if self.mode == "token":
            return self._holder(environ)
        if self.mode == "proxy":
            return _nobody(client_address(environ))
        if role == ROLES[0]:
            return Caller("local client", ROLES[0], client_address(environ), None)
        return local_caller(environ, self._any_user)

    def may(self, environ: MutableMapping[str, Any], role: str) -> bool:
        """Tell whether the caller of a request has a role, also one that its route does not ask for."""
        return self.caller(environ, role).may(role)

    def still_allowed(self, environ: Mapping[str, Any], caller: Caller, role: str) -> bool:
        """Tell whether a caller's credentials are still good, when what was asked for begins later (S16)."""
        if self.mode != "token" or caller.uid is not None:  # whoever the kernel vouched for may have gone since
            return True
        return self._holder(environ).may(role)

    def _holder(self, environ: Mapping[str, Any]) -> Caller:
        """The holder of a token, else of a session: one who brings both means the token."""
        address = client_address(environ)
        given = environ.get("HTTP_AUTHORIZATION", "")
        if given[: len(_BEARER)].lower() == _BEARER:
            token = self._token(given[len(_BEARER) :].strip())
            return Caller(f"token {token.name}", token.role, address, None) if token else _nobody(address)
        session = self._login.session(environ)
        user = self._login.user(session) if session is not None else None
        return Caller(f"user {user.name}", user.role, address, None) if user else _nobody(address)

    def _token(self, secret: str) -> Token | None:
        if self._tokens is None or not secret.isascii() or not 0 < len(secret) <= LONGEST:
            return None
        return find_token(self._tokens.value(), secret)

    def _passed_on(self, environ: MutableMapping[str, Any]) -> Caller | None:
        user = environ.get(self.proxies.user_header, "").strip()
        role = environ.get(self.proxies.role_header, "").strip().lower()
        if not self.proxies.trusts(environ) or not user or role not in ROLES:
            return None
        return Caller(f"user {_decoded(user)[:200]}", role, client_address(environ), None)

    def _socket_user(self, environ: Mapping[str, Any]) -> Caller | None:
        peer = socket_peer(environ) if over_unix_socket(environ) else None
        if peer is None:
            return None
        roles = [self._users.get(name) for name in (str(peer.uid), _user_name(peer.uid))]
        roles += [self._groups.get(name) for name in _group_names(peer)]
        best = max((ROLES.index(role) for role in roles if role), default=None)
        return None if best is None else Caller(f"uid {peer.uid}", ROLES[best], "unix", peer.uid)


def _nobody(address: str) -> Caller:
    return Caller("nobody", "", address, None)


def _decoded(text: str) -> str:
    """The text of a header, whose bytes WSGI hands over as Latin-1."""
    return text.encode("latin-1", "replace").decode("utf-8", "replace")


def _watched_tokens(settings: Settings) -> WatchedFile[tuple[Token, ...]] | None:
    if settings.token_file is None or settings.auth != "token":
        return None
    return WatchedFile("internal_api_server_token_file", settings.token_file, parse_tokens, "token add NAME")


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _group_names(peer: Peer) -> list[str]:
    """Names and numbers of the groups of a process and of its user."""
    numbers = {peer.gid}
    with contextlib.suppress(KeyError, OSError):  # this machine may have no name for a container's user
        account = pwd.getpwuid(peer.uid)
        numbers.update(os.getgrouplist(account.pw_name, account.pw_gid))
    names = []
    for number in numbers:
        names.append(str(number))
        with contextlib.suppress(KeyError):
            names.append(grp.getgrgid(number).gr_name)
    return names
