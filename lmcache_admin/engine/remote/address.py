"""The configuration's `remote_url`: what it says, and how it is shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from lmcache_admin.engine.errors import StorageError

FOLDERS = ("fs", "file")
REDIS = ("redis", "rediss", "unix")
SINGLE_ENTRY = ("valkey", "resp")
OBJECTS = ("s3", "gs")
SCHEMES = (*FOLDERS, *REDIS, *SINGLE_ENTRY, *OBJECTS)


@dataclass(frozen=True)
class Address:
    """A `remote_url` taken apart.

    Args:
        url: The URL itself, secrets and all.
        scheme: One of `SCHEMES`.
    """

    url: str
    scheme: str

    @classmethod
    def parse(cls, url: object) -> Address:
        """Read a URL.

        Raises:
            StorageError: It has no scheme, or one that is not supported.
        """
        scheme = str(url).partition("://")[0] if "://" in str(url) else ""
        if scheme not in SCHEMES:
            shown = f"scheme {scheme[:20]!r}" if scheme else "a text without a scheme"
            raise StorageError(f"remote_url: {shown} is not supported; supported: {', '.join(SCHEMES)}")
        return cls(str(url), scheme)

    @property
    def place(self) -> str:
        """The URL as it may be shown."""
        return masked(self.url)

    @property
    def folders(self) -> list[str]:
        """Folders of a `fs://host:port/DIR[,DIR…]` or `file:///DIR[,DIR…]`; host and port mean nothing.

        Raises:
            StorageError: There is none, or one is not absolute.
        """
        try:
            parts = urlsplit(self.url)
        except ValueError as error:
            raise StorageError(f"remote_url: {self.place} cannot be read") from error
        if self.scheme == "file" and parts.netloc not in ("", "localhost"):
            raise StorageError(f"remote_url: {self.place} names a host; a folder is file:///FOLDER, with three slashes")
        folders = [folder.strip() for folder in parts.path.split(",")]
        if not all(folder.startswith("/") and folder.strip("/") for folder in folders):
            raise StorageError(f"remote_url: {self.place} names no folder, or not an absolute one, or /")
        return folders


def masked(url: object) -> str:
    """A URL without what may be a secret: user, password and options; for logs, errors and pages."""
    scheme, found, rest = str(url).partition("://")
    if not found:
        return "a text without a scheme"
    shown = re.split(r"[?#]", rest, maxsplit=1)[0]
    if scheme in FOLDERS and "@" not in rest.partition("/")[0]:
        return f"{scheme}://{shown}"
    if "@" in rest[len(shown) :]:  # an unquoted password with ? or #, or an option with @: no telling which
        return f"{scheme}://***"
    _, at, place = shown.rpartition("@")  # the last one: an unquoted password may hold any character
    return f"{scheme}://{'***@' if at else ''}{place}"
