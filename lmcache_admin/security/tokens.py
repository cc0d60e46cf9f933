"""Tokens: 256 random bits each, of which only a digest is kept; a line a token in a file of mode 0600."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timezone

from lmcache_admin.declaration import ROLES

PREFIX = "lmca_"
#: Longest credential that is looked at; ours have 48 letters.
LONGEST = 256
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
NAMES = "the name may have letters, digits and ._@-, 64 at most"
_DIGEST = re.compile(r"sha256\$[0-9a-f]{64}")


@dataclass(frozen=True)
class Token:
    """What the file says of one token.

    Args:
        name: Who has it; the audit's actor.
        role: What its holder may do.
        digest: SHA-256 of the token, hexadecimal.
        expires: When it ends, UTC; None for never.
    """

    name: str
    role: str
    digest: str
    expires: datetime | None

    @property
    def line(self) -> str:
        """The line of the file: `name:role:sha256$<hex>:<expiry or ->`."""
        # strftime does not fill up years before 1000, and strptime wants four digits
        expiry = f"{self.expires.year:04d}-{self.expires:%m-%dT%H%M%SZ}" if self.expires else "-"
        return f"{self.name}:{self.role}:sha256${self.digest}:{expiry}"


def new_token(name: str, role: str, expires: datetime | None = None) -> tuple[str, Token]:
    """Make a token; it is told once and kept nowhere.

    Raises:
        ValueError: A name or role that cannot be.
    """
    secret = PREFIX + secrets.token_urlsafe(32)
    token = Token(name, role, _digest(secret), expires)
    if not _NAME.fullmatch(name):
        raise ValueError(NAMES)
    return secret, _parse(token.line, 1)


def parse_tokens(text: str) -> tuple[Token, ...]:
    """Read a token file; empty lines and those that begin with `#` are passed over.

    Raises:
        ValueError: It names the line's number and what is wrong with it, never its content.
    """
    tokens: dict[str, Token] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        token = _parse(line.strip(), number)
        if token.name in tokens:
            raise ValueError(f"line {number}: the name stands there twice")
        tokens[token.name] = token
    return tuple(tokens.values())


def find_token(tokens: tuple[Token, ...], secret: str) -> Token | None:
    """The token whose secret that is and whose time is not over; looks at each one in constant time (S6)."""
    digest = _digest(secret)
    found = None
    for token in tokens:
        if hmac.compare_digest(token.digest, digest):
            found = token
    if found is None or (found.expires is not None and found.expires <= datetime.now(timezone.utc)):
        return None
    return found


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _parse(line: str, number: int) -> Token:
    cells = line.split(":")
    if len(cells) != 4:
        raise ValueError(f"line {number}: {len(cells)} fields, wanted name:role:sha256$<hex>:<expiry or ->")
    name, role, digest, expiry = cells
    if not _NAME.fullmatch(name):
        raise ValueError(f"line {number}: {NAMES}")
    if role not in ROLES:
        raise ValueError(f"line {number}: the role is not one of {', '.join(ROLES)}")
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"line {number}: the third field is no sha256$<64 hexadecimal digits>")
    try:
        ends = None if expiry == "-" else datetime.strptime(expiry, "%Y-%m-%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        raise ValueError(f"line {number}: the expiry is neither - nor like 2027-01-31T120000Z") from None
    return Token(name, role, digest.partition("$")[2], ends)
