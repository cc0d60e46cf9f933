"""Sessions of browsers: signed texts in a cookie, and the token that a change from a page must bring."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from itsdangerous import BadSignature, URLSafeSerializer

from lmcache_admin.security.private_files import PASSING, NotPrivate, changing, read_private, write_private
from lmcache_admin.settings_error import SettingsError

logger = logging.getLogger(__name__)

_KEY = "internal_api_server_session_key_file"

#: Seconds: a session's longest life, how long it may lie idle, after how long its cookie is written anew.
ABSOLUTE, IDLE, RENEWED = 12 * 3600.0, 3600.0, 300.0
#: Seconds that a session may seem to begin in the future: another machine's clock (S66).
AHEAD = 300.0
#: Longest cookie that is looked at.
LONGEST = 1024
#: How cookies are signed; another use of the same key has another salt.
SALT = "lmcache-admin session"
SIGNER = {"key_derivation": "hmac", "digest_method": hashlib.sha256}


@dataclass(frozen=True)
class Session:
    """One browser's session.

    Args:
        id: Random; the CSRF token is made from it.
        user: Who logged in; empty where the mode asks for no login.
        generation: The user's, when the session began.
        began, seen: Seconds since the epoch: several machines check it.
    """

    id: str
    user: str
    generation: int
    began: float
    seen: float


class Sessions:
    """Makes and reads the cookie's text.

    Args:
        keys: Signing keys, oldest first; the last one signs, all are accepted (S10).
    """

    def __init__(self, keys: list[str]) -> None:
        self._serializer = URLSafeSerializer(keys, salt=SALT, signer_kwargs=SIGNER)
        self._key = keys[-1].encode()
        self._keys = [key.encode() for key in keys]

    def begin(self, user: str = "", generation: int = 0) -> Session:
        """A new session."""
        now = time.time()
        return Session(secrets.token_urlsafe(16), user, generation, now, now)

    def write(self, session: Session) -> str:
        """The cookie's text."""
        facts = [session.id, session.user, session.generation, int(session.began), int(time.time())]
        text: str = self._serializer.dumps(facts)
        return text

    def read(self, text: str | None) -> Session | None:
        """The session of a cookie; None if it is not ours, or over."""
        if not text or len(text) > LONGEST:
            return None
        try:
            id_, user, generation, began, seen = self._serializer.loads(text)
            session = Session(str(id_), str(user), int(generation), float(began), float(seen))
        except (BadSignature, ValueError, TypeError):
            return None
        now = time.time()
        ahead = max(session.began, session.seen) > now + AHEAD
        if ahead or now - session.began > ABSOLUTE or now - session.seen > IDLE:
            return None
        return session

    def is_due(self, session: Session) -> bool:
        """Whether the cookie is to be written anew, so that it does not lie idle."""
        return time.time() - session.seen > RENEWED

    def csrf_token(self, session: Session) -> str:
        """What a change of this session's pages must bring."""
        return _csrf(self._key, session)

    def csrf_fits(self, session: Session, given: str) -> bool:
        """Whether that is this session's token."""
        return any(hmac.compare_digest(_csrf(key, session), given) for key in self._keys) if given.isascii() else False


def _csrf(key: bytes, session: Session) -> str:
    return hmac.new(key, f"csrf {session.id}".encode(), "sha256").hexdigest()


def signing_keys(path: str | None) -> list[str]:
    """The keys of a file, one a line, the newest last; made at the first start. Without a file: one for this start.

    Raises:
        SettingsError: The file cannot be used.
    """
    fresh = secrets.token_hex(32)
    if path is None:
        return [fresh]
    try:
        keys = _kept_keys(path, fresh)
    except (OSError, NotPrivate, UnicodeDecodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        if isinstance(error, OSError) and error.errno in PASSING:
            logger.warning("%s: %s; the sessions of this start will end with it", path, reason)
            return [fresh]
        raise SettingsError(_KEY, path, "a file of mode 0600 that this process owns", reason=reason) from None
    if not keys or min(map(len, keys)) < 32:
        raise SettingsError(_KEY, path, "lines of at least 32 letters", reason="a key is too short")
    return keys


def _kept_keys(path: str, fresh: str) -> list[str]:
    if not os.path.lexists(path):
        with changing(path):
            if not os.path.lexists(path):  # another process may just have made it
                write_private(path, f"{fresh}\n".encode())
    return read_private(path).decode("ascii").split()


def cookie_name(environ: Mapping[str, Any]) -> str:
    """Name of the cookie, with the port that the browser sees: cookies of one host know no ports of their own."""
    port = environ.get("HTTP_HOST", "").rpartition(":")[2]
    if not (port.isascii() and port.isdigit()):
        port = "443" if environ.get("wsgi.url_scheme") == "https" else "80"
    return f"lmcache_admin_{port}"
