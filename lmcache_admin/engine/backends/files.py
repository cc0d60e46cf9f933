"""The file of one chunk: a checked header, then the payload; written aside and renamed, never half there.

Layout, little endian: magic 8 bytes, format number u16, zero u16, length of the description u32, length of
the payload u64, `table_sum` of the payload u32, CRC-32 of all of the header before this field and of the
description u32; the description (JSON: key, layout, tokens); the payload.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

from lmcache_admin.engine.aside import Aside
from lmcache_admin.engine.backends.checksums import table_sum
from lmcache_admin.engine.buffers import GrowingPool
from lmcache_admin.engine.chunks import Chunk, ChunkKey, Layout
from lmcache_admin.engine.errors import CorruptChunkError, NewerFormatError

MAGIC = b"LMADMCHK"
FORMAT = 1
HEAD = struct.Struct("<8sHHIQII")
LONGEST_DESCRIPTION = 65536
USUAL_HEADER = 512  # bytes that most often hold header and description; reading them has the system read on
NAMES = 1024  # chunk names that are remembered: one call asks for each several times


@lru_cache(maxsize=NAMES)
def chunk_name(key: ChunkKey, layout: Layout | None = None) -> str:
    """A chunk's name in a folder: of fixed length whatever the model is called, and another per layout."""
    text = key.text if layout is None else "\0".join((key.text, *map(str, layout)))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def packed(key: ChunkKey, chunk: Chunk) -> bytes:
    """Header and description of a chunk's file."""
    described = {"key": key.text, "layout": list(chunk.layout), "tokens": chunk.tokens}
    description = json.dumps(described, separators=(",", ":")).encode("ascii")
    head = HEAD.pack(MAGIC, FORMAT, 0, len(description), chunk.nbytes, table_sum(chunk.payload), 0)[:-4]
    return head + struct.pack("<I", zlib.crc32(description, zlib.crc32(head))) + description


def write_chunk(folder: str, key: ChunkKey, chunk: Chunk) -> Aside:
    """Write a chunk's file aside; the system begins to bring it onto the medium.

    Raises:
        OSError: It cannot be written; nothing is left of it.
    """
    aside = Aside(folder, 0o600)
    try:
        aside.write([packed(key, chunk), chunk.payload])
        now = time.time_ns()  # finer than the kernel's clock, so that any later write shows in the time
        os.utime(aside.descriptor, ns=(now, now))
        aside.hasten()
    except BaseException:
        aside.close()
        raise
    return aside


def name_chunk(aside: Aside, path: str) -> os.stat_result:
    """Bring a written file onto the medium and give it its name, which is there once its folder is synced.

    Returns:
        The facts of the file as it now is.

    Raises:
        OSError: Under the name is what was there before.
    """
    with aside:
        os.fsync(aside.descriptor)
        aside.rename(path)
        return os.fstat(aside.descriptor)


def read_chunk(path: str, buffers: GrowingPool) -> tuple[str, Chunk]:
    """Read and check a chunk's file.

    Args:
        path: The file.
        buffers: Where memory for the payload is taken from.

    Returns:
        The key's text as written, and the chunk.

    Raises:
        OSError: The file cannot be opened or read (FileNotFoundError: a plain miss).
        CorruptChunkError: Lengths or checksums do not fit; the message says which.
        NewerFormatError: Written by a later version.
    """
    with _opened(path) as descriptor:
        header = _read_header(descriptor)
        payload = buffers.take(header.payload_length).data
        os.lseek(descriptor, header.length, os.SEEK_SET)
        _read_all(descriptor, payload)
    if table_sum(payload) != header.payload_sum:
        raise CorruptChunkError("payload does not match its checksum")
    return header.described["key"], _chunk(header.described, payload)


def read_tokens(path: str) -> int:
    """Tokens of a chunk's file by its header alone; 0 when it cannot be read."""
    try:
        with _opened(path) as descriptor:
            return int(_read_header(descriptor).described["tokens"])
    except (OSError, CorruptChunkError, NewerFormatError):
        return 0


def expect(path: str) -> bool:
    """Whether a file can be opened; the system begins to read it, since it is wanted soon."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
    finally:
        os.close(descriptor)
    return True


class _Header(NamedTuple):
    described: dict[str, Any]
    length: int
    payload_length: int
    payload_sum: int


@contextmanager
def _opened(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read_all(descriptor: int, view: memoryview) -> None:
    done = 0
    while done < len(view):
        count = os.readv(descriptor, [view[done:]])
        if not count:
            raise CorruptChunkError("shorter than its header says")
        done += count


def _read_header(descriptor: int) -> _Header:
    size = os.fstat(descriptor).st_size
    begin = os.pread(descriptor, USUAL_HEADER, 0)
    head = begin[: HEAD.size]
    if len(head) < HEAD.size or head[:8] != MAGIC:
        raise CorruptChunkError("not a chunk file")
    _, number, _, description_length, payload_length, payload_sum, head_sum = HEAD.unpack(head)
    if number > FORMAT:
        raise NewerFormatError(f"format {number} of a later version; this one reads up to {FORMAT}")
    length = HEAD.size + description_length
    if description_length > LONGEST_DESCRIPTION or length + payload_length != size:
        raise CorruptChunkError("its length is not the one that its header says")
    description = (begin if length <= len(begin) else os.pread(descriptor, length, 0))[HEAD.size : length]
    if zlib.crc32(description, zlib.crc32(head[:-4])) != head_sum:
        raise CorruptChunkError("header does not match its checksum")
    return _Header(_described(description), length, payload_length, payload_sum)


def _described(description: bytes) -> dict[str, Any]:
    try:
        described = json.loads(description)
        whole = isinstance(described["key"], str) and type(described["tokens"]) is int
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptChunkError(f"description cannot be read: {error}") from error
    if not whole:
        raise CorruptChunkError("description holds no key or no number of tokens")
    return dict(described)


def _chunk(described: dict[str, Any], payload: memoryview) -> Chunk:
    try:
        return Chunk(Layout(*described["layout"]), described["tokens"], payload.toreadonly())
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptChunkError(f"description does not fit the payload: {error}") from error
