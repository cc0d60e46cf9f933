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


# A host of Amazon's behind the bucket's name, which may hold dots itself.
AMAZON = re.compile(r"(.+?)\.s3(?:express)?[.-](?:.*\.)?amazonaws\.com(?:\.cn)?\Z")
BARE_HOST = re.compile(r"(?:localhost|[0-9.]+|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?\Z")


@dataclass(frozen=True)
class Bucket:
    """Where objects lie.

    Args:
        name: The bucket.
        prefix: What stands before each object's name; empty, or ends with `/`. LMCache knows none.
        host: Host and port of a server that is not the default one; None for that.
    """

    name: str
    prefix: str
    host: str | None

    @property
    def by_path(self) -> bool:
        """Whether the bucket is named in the path, because the host's name cannot have it before it."""
        return self.host is not None and BARE_HOST.match(self.host) is not None


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

    @property
    def bucket(self) -> Bucket:
        """Bucket of an `s3://BUCKET[/PREFIX]`, `s3://BUCKET.HOST[:PORT][/PREFIX]` or `gs://BUCKET[/PREFIX]`.

        LMCache's URL names a host, which begins with the bucket's name; a name without a dot and a port is a
        bucket of the default server.

        Raises:
            StorageError: There is none.
        """
        authority, _, path = self.url.partition("://")[2].partition("/")
        prefix = f"{path.strip('/')}/" if path.strip("/") else ""
        if not authority or re.search(r"[@?#\s]", self.url):
            raise StorageError(f"remote_url: {self.place} names no bucket, or holds a user, an option or a space")
        amazon = AMAZON.match(authority)
        if amazon is not None or self.scheme != "s3" or not re.search(r"[.:]", authority):
            return Bucket(amazon[1] if amazon is not None else authority, prefix, None)
        name, _, host = authority.partition(".")
        if not host:
            raise StorageError(f"remote_url: {self.place} names no bucket; with a port it is s3://BUCKET.HOST:PORT")
        return Bucket(name, prefix, host)


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
