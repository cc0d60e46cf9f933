"""Chunks in Redis or Valkey: LMCache's entries, and our checksums in keys of their own."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

from lmcache_admin.engine.chunks import Chunk, ChunkKey
from lmcache_admin.engine.errors import CorruptChunkError
from lmcache_admin.engine.remote.codec import Form, Record
from lmcache_admin.engine.remote.protocol import BATCH, Scope, StoreDownError, StoreRefusedError

OURS = "lmcache-admin:"
CHECKSUM = f"{OURS}crc32:"
PROBE = f"{OURS}probe:"
PROBE_LIFE = 600  # seconds after which Redis drops a probe's entries by itself
PAYLOAD, HEADER = "kv_bytes", "metadata"
SCANNED = 1000  # entries that Redis looks at in one step of a listing


class RedisStore:
    """One database of a server.

    Where chunks have headers, a chunk is two entries: its key's text with `kv_bytes` and with `metadata`
    appended. Where they have none, it is one entry under the key's text. Source: LMCache 0.5.6, connectors
    of redis:// and valkey://.

    Args:
        client: A client that does not decode answers.
        form: How the chunks look.
        place: How the store is called in messages.
        lifetime: Seconds after which the server may drop an entry; None keeps it.
    """

    def __init__(self, client: Any, form: Form, place: str, lifetime: int | None = None) -> None:
        self.place = place
        self._client = client
        self._form = form
        self._lifetime = lifetime

    def read(self, key: ChunkKey) -> Chunk | None:
        """The chunk; entries that are no longer complete, because Redis evicted a part, are removed."""
        with _told():
            found = self._client.mget(self._names(key))
            if self._form.headers and found[0] is None and found[1] is not None:
                self._client.unlink(*self._names(key))
        return self._chunk(key, *found)

    def write(self, key: ChunkKey, chunk: Chunk) -> Hashable:
        """Write the payload first and the header last, in one transaction: all or nothing."""
        self._form.admit(chunk, probe=key.reserved)
        header = self._form.header(chunk)
        record = Record.of(header, chunk.payload).text.encode("ascii")
        payload, *headers, checksum = self._names(key)
        lifetime = PROBE_LIFE if key.reserved else self._lifetime
        with _told(), self._client.pipeline(transaction=True) as steps:
            steps.set(payload, chunk.payload, ex=lifetime)
            steps.set(checksum, record, ex=lifetime)
            for name in headers:
                steps.set(name, header, ex=lifetime)
            steps.execute()
        return chunk.nbytes, *([header] if headers else []), record

    def exists(self, key: ChunkKey) -> bool:
        """Whether all entries of the chunk are there."""
        names = self._names(key)[:-1]
        with _told():
            return bool(self._client.exists(*names) == len(names))

    def mark(self, key: ChunkKey) -> Hashable | None:
        """Length of the payload, header, checksum."""
        payload, *others = self._names(key)
        with _told(), self._client.pipeline(transaction=True) as steps:
            steps.strlen(payload)
            steps.mget(others)
            length, rest = steps.execute()
        return (length, *rest) if length and all(part is not None for part in rest[:-1]) else None

    def settle(self, key: ChunkKey) -> None:
        """Nothing to do: what Redis keeps, and since when, is its own affair."""

    def remove(self, key: ChunkKey) -> bool:
        """Drop all entries at once."""
        with _told():
            return self._unlink([key])[0]

    def set_aside(self, key: ChunkKey) -> bool:
        """Remove the entries, unless somebody writes one of them meanwhile."""
        names = self._names(key)
        with _told(), self._client.pipeline(transaction=True) as steps:
            steps.watch(*names)
            try:
                self._chunk(key, *steps.mget(names))
            except CorruptChunkError:
                steps.multi()
                steps.unlink(*names)
                try:
                    steps.execute()
                except redis.WatchError:
                    return False
                return True
        return False

    def keys(self) -> Iterator[str]:
        """Texts of the entries' names, found step by step; one that is written meanwhile may come twice."""
        suffix = HEADER if self._form.headers else ""
        with _told():
            for name in self._client.scan_iter(match=f"*@*@*@*@*{suffix}", count=SCANNED):
                text = _decoded(name)
                if not text.startswith(OURS):
                    yield text.removesuffix(suffix)

    def purge(self, scope: Scope) -> Iterator[Mapping[ChunkKey, int]]:
        """Remove the entries of one deployment, step by step."""
        pattern = f"{_literal(scope.model_name)}@{scope.world_size}@*"
        found: dict[ChunkKey, None] = {}
        with _told():
            for name in self._client.scan_iter(match=pattern, count=SCANNED):
                key = self._key(_decoded(name))
                if key is not None and scope.holds(key):
                    found[key] = None
                if len(found) >= BATCH:
                    yield self._purge(list(found))
                    found = {}
            if found:
                yield self._purge(list(found))

    def close(self) -> None:
        """Close the connections that nobody uses just now; the others go with their users."""
        self._client.connection_pool.disconnect(inuse_connections=False)

    def _names(self, key: ChunkKey) -> list[str]:
        """The payload's entry, the header's if there is one, the checksum's."""
        text = f"{PROBE}{key.text}" if key.reserved else key.text
        names = [text + PAYLOAD, text + HEADER] if self._form.headers else [text]
        return [*names, f"{CHECKSUM}{text}"]

    def _key(self, text: str) -> ChunkKey | None:
        """The key of an entry's name, of the header's and the payload's alike."""
        if self._form.headers:
            if not text.endswith((HEADER, PAYLOAD)):
                return None
            text = text.removesuffix(HEADER).removesuffix(PAYLOAD)
        try:
            return ChunkKey.parse(text)
        except ValueError:
            return None

    def _chunk(self, key: ChunkKey, payload: bytes | None, *others: bytes | None) -> Chunk | None:
        *headers, checksum = others
        if payload is None or None in headers:
            return None
        record = Record.parse(checksum)
        header = headers[0] if headers else b""
        return self._form.decode(header or b"", payload, record, probe=key.reserved)

    def _purge(self, keys: list[ChunkKey]) -> Mapping[ChunkKey, int]:
        with self._client.pipeline(transaction=False) as steps:
            for key in keys:
                payload, *headers, _ = self._names(key)
                steps.get(headers[0]) if headers else steps.strlen(payload)
            found = steps.execute(raise_on_error=False)  # an entry of another type gives an error of its own
        tokens = [self._tokens(one) for one in found]
        removed = self._unlink(keys)
        return {key: count for key, count, gone in zip(keys, tokens, removed, strict=True) if gone}

    def _tokens(self, found: object) -> int:
        """Tokens by a header, or by a length where there are none."""
        header, length = (found, 0) if isinstance(found, bytes) else (b"", found if isinstance(found, int) else 0)
        return self._form.tokens(header, length)

    def _unlink(self, keys: Iterable[ChunkKey]) -> list[bool]:
        """Drop the entries of each; whether the one that makes it present was there."""
        with self._client.pipeline(transaction=False) as steps:
            for key in keys:
                *others, present, checksum = self._names(key)
                steps.unlink(present)
                steps.unlink(*others, checksum)
            answers = steps.execute()
        return [bool(count) for count in answers[::2]]


def connect(settings: Mapping[str, Any], timeouts: Mapping[str, float]) -> Any:
    """A client of a server, which need not be there yet.

    Args:
        settings: Host and port or path, user, password, database, as redis-py names them.
        timeouts: Seconds to connect (`socket_connect_timeout`) and to wait for bytes (`socket_timeout`).
    """
    make: Any = redis.ConnectionPool  # untyped in redis-py; grows to one connection for each thread that asks at once
    pool = make(
        **{
            **timeouts,
            # one more try where a connection turns out to be dead, as after a restart; none after a time-out
            "retry": Retry(NoBackoff(), 1, (redis.ConnectionError,)),
            **settings,
            "decode_responses": False,
        }
    )
    return redis.Redis(connection_pool=pool)


def settings_of(url: str) -> dict[str, Any]:
    """What a URL of redis://, rediss:// or unix:// says, in redis-py's names.

    Raises:
        ValueError: It cannot be read.
    """
    read: Any = parse_url  # untyped in redis-py
    return dict(read(url))


def _literal(text: str) -> str:
    """A text that a pattern of Redis takes as it stands."""
    return "".join(f"\\{sign}" if sign in "*?[]^\\" else sign for sign in text)


def _decoded(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


@contextmanager
def _told() -> Iterator[None]:
    """Tell what redis-py raises in the store's own terms; its texts name host and port, never a password."""
    try:
        yield
    except redis.ResponseError as error:
        raise StoreRefusedError(f"Redis refused: {error}") from error
    except (redis.RedisError, OSError) as error:
        raise StoreDownError(f"{type(error).__name__}: {error}") from error
    except (UnicodeError, ValueError) as error:  # a name that cannot be sent
        raise StoreRefusedError(f"the key cannot be sent: {error}") from error
