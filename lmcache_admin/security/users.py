"""Users who log in: a line a user in a file of mode 0600, the password as a scrypt hash."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
import threading
from dataclasses import dataclass, replace

from lmcache_admin.declaration import ROLES

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
NAMES = "the name may have letters, digits and ._@-, 64 at most"
#: Cost of a hash: 16 MiB and some 50 ms.
_N, _R, _P = 2**14, 8, 1
#: Most memory that a hash may need, bytes; OpenSSL refuses one that needs more.
_MEMORY = 2**28
#: Longest password that is hashed, letters.
LONGEST = 1024
#: One hash at a time: whoever guesses passwords does not get more than one core (S8).
_HASHING = threading.Lock()


@dataclass(frozen=True)
class User:
    """What the file says of one user.

    Args:
        name: Who it is; the audit's actor.
        role: What they may do.
        secret: `scrypt$N$r$p$salt$hash`, the last two in base64.
        generation: Rises with logout and password change: sessions of an older one are over (S11).
    """

    name: str
    role: str
    secret: str
    generation: int = 1

    @property
    def line(self) -> str:
        """The line of the file: `name:role:scrypt$...:generation`."""
        return f"{self.name}:{self.role}:{self.secret}:{self.generation}"

    def renewed(self, password: str | None = None) -> User:
        """The same user with all sessions ended, and another password if one is given."""
        secret = self.secret if password is None else _hashed(password)
        return replace(self, secret=secret, generation=self.generation + 1)


def new_user(name: str, role: str, password: str) -> User:
    """Make a user.

    Raises:
        ValueError: A name, role or password that cannot be.
    """
    user = User(name, role, _hashed(password), secrets.randbelow(10**12))  # none that a former user of that name had
    if not _NAME.fullmatch(name):
        raise ValueError(NAMES)
    return _parse(user.line, 1)


def parse_users(text: str) -> tuple[User, ...]:
    """Read a user file; empty lines and those that begin with `#` are passed over.

    Raises:
        ValueError: It names the line's number and what is wrong with it, never its content.
    """
    users: dict[str, User] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        user = _parse(line.strip(), number)
        if user.name in users:
            raise ValueError(f"line {number}: the name stands there twice")
        users[user.name] = user
    return tuple(users.values())


def find_user(users: tuple[User, ...], name: str) -> User | None:
    """The user of that name."""
    return next((user for user in users if user.name == name), None)


def check_password(users: tuple[User, ...], name: str, password: str) -> User | None:
    """The user whose name and password these are; an unknown name costs the same hash as a known one (S6)."""
    user = find_user(users, name)
    secret = user.secret if user else _NOBODY
    good = hmac.compare_digest(_hash(password[:LONGEST], *_cells(secret)[:4]), _cells(secret)[4])
    return user if good and user is not None and 0 < len(password) <= LONGEST else None


def _hashed(password: str) -> str:
    if not 8 <= len(password) <= LONGEST:
        raise ValueError(f"a password has 8 to {LONGEST} letters")
    salt = os.urandom(16)
    made = _hash(password, _N, _R, _P, salt)
    return f"scrypt${_N}${_R}${_P}${_text(salt)}${_text(made)}"


def _hash(password: str, n: int, r: int, p: int, salt: bytes) -> bytes:
    with _HASHING:
        data = password.encode("utf-8", "surrogatepass")
        return hashlib.scrypt(data, salt=salt, n=n, r=r, p=p, maxmem=_MEMORY, dklen=32)


def _cells(secret: str) -> tuple[int, int, int, bytes, bytes]:
    _, n, r, p, salt, made = secret.split("$")
    return int(n), int(r), int(p), base64.b64decode(salt, validate=True), base64.b64decode(made, validate=True)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _parse(line: str, number: int) -> User:
    cells = line.split(":")
    if len(cells) != 4:
        raise ValueError(f"line {number}: {len(cells)} fields, wanted name:role:scrypt$...:generation")
    name, role, secret, generation = cells
    if not _NAME.fullmatch(name):
        raise ValueError(f"line {number}: {NAMES}")
    if role not in ROLES:
        raise ValueError(f"line {number}: the role is not one of {', '.join(ROLES)}")
    try:
        n, r, p, salt, made = _cells(secret)
        fits = secret.startswith("scrypt$") and min(n - 1, r, p) > 0 and n & (n - 1) == 0 and n * r * p <= 2**20
        fits = fits and n.bit_length() <= 16 * r and 128 * r * (n + p + 2) <= _MEMORY  # else OpenSSL refuses to hash
        fits = fits and 8 <= len(salt) <= 64 and len(made) == 32
    except ValueError:
        fits = False
    if not fits or not re.fullmatch(r"[0-9]{1,15}", generation):
        raise ValueError(f"line {number}: no hash and generation as `lmcache-admin user add` makes them")
    return User(name, role, secret, int(generation))


_NOBODY = f"scrypt${_N}${_R}${_P}${_text(bytes(16))}${_text(bytes(32))}"
