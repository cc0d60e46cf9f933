"""Logging in and out: users, the limit on failures, and the cookie of a session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lmcache_admin.errors import Failure, Unauthorized
from lmcache_admin.security.attempts import Attempts
from lmcache_admin.security.private_files import WatchedFile, changing, read_private, write_private
from lmcache_admin.security.sessions import Session, Sessions, cookie_name, signing_keys
from lmcache_admin.security.users import User, check_password, find_user, parse_users

if TYPE_CHECKING:
    from lmcache_admin.settings import Settings


class Login:
    """The sessions of one server.

    Args:
        settings: `user_file` and `session_key_file`.

    Raises:
        SettingsError: A file cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self.sessions = Sessions(signing_keys(settings.session_key_file))
        self._attempts = Attempts()
        self.users: WatchedFile[tuple[User, ...]] | None = None
        if settings.user_file is not None and settings.auth == "token":
            self.users = WatchedFile("internal_api_server_user_file", settings.user_file, parse_users, "user add NAME")

    def session(self, environ: Mapping[str, Any]) -> Session | None:
        """The session whose cookie came with a request, if it is good and its user still is."""
        if "HTTP_COOKIE" not in environ:
            return None
        session = self.sessions.read(_cookies(environ).get(cookie_name(environ)))
        return session if session is not None and (not session.user or self.user(session) is not None) else None

    def user(self, session: Session) -> User | None:
        """Whose session it is, by the user file as it is now (S9, S11)."""
        user = find_user(self.users.value(), session.user) if self.users is not None else None
        return user if user is not None and user.generation == session.generation else None

    def log_in(self, name: str, password: str, address: str) -> tuple[User, Session]:
        """Begin the session of a user.

        Raises:
            Unauthorized: Name or password are wrong, or nobody can log in here.
            Failure: 429, it failed too often; `Retry-After` says how long to wait.
        """
        wait = self._attempts.wait(name, address)
        if wait:
            body = {"error": "Too many failures", "message": f"Logging in failed too often; wait {wait} s."}
            raise Failure(429, body, {"Retry-After": str(wait)})
        if self.users is None:
            raise Unauthorized("Nobody can log in here: internal_api_server_user_file names no users.")
        user = check_password(self.users.value(), name, password)
        if user is None:
            self._attempts.fail(name, address)
            raise Unauthorized("Name or password are wrong.")
        return user, self.sessions.begin(user.name, user.generation)

    def log_out(self, session: Session) -> None:
        """End all sessions of the session's user.

        Raises:
            OSError: The user file cannot be written.
        """
        if self.users is None or not session.user:
            return
        path = self.users.path
        with changing(path):
            users = parse_users(read_private(path).decode())
            lines = [user.renewed() if user.name == session.user else user for user in users]
            write_private(path, "".join(f"{user.line}\n" for user in lines).encode())
        self.users.look_now()

    def cookie(self, session: Session | None, environ: Mapping[str, Any]) -> str:
        """The `Set-Cookie` of a session; of None one that ends it."""
        text = "" if session is None else self.sessions.write(session)
        path = environ.get("SCRIPT_NAME") or "/"
        secure = "; Secure" if environ.get("wsgi.url_scheme") == "https" else ""
        ended = "; Max-Age=0" if session is None else ""
        return f"{cookie_name(environ)}={text}; Path={path}; HttpOnly; SameSite=Strict{secure}{ended}"


def _cookies(environ: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in environ.get("HTTP_COOKIE", "").split(";"):
        name, _, value = part.strip().partition("=")
        found.setdefault(name, value)
    return found
