"""The file of one chunk: a checked header, then the payload; written aside and renamed, never half there.

Layout, little endian: magic 8 bytes, format number u16, zero u16, length of the description u32, length of
the payload u64, CRC-32 of the payload u32, CRC-32 of all of the header before this field and of the
description u32; the description (JSON: key, layout, tokens); the payload.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import time
import zlib
from pathlib import Path
from typing import Any

from lmcache_admin.engine.aside import Aside, sync
from lmcache_admin.engine.chunks import Chunk, ChunkKey, Layout
from lmcache_admin.engine.errors import CorruptChunkError, NewerFormatError

MAGIC = b"LMADMCHK"
FORMAT = 1
HEAD = struct.Struct("<8sHHIQII")
LONGEST_DESCRIPTION = 65536


def chunk_name(key: ChunkKey, layout: Layout | None = None) -> str:
    """A chunk's name in a folder: of fixed length whatever the model is called, and another per layout."""
    text = key.text if layout is None else "\0".join((key.text, *map(str, layout)))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def packed(key: ChunkKey, chunk: Chunk) -> bytes:
    """Header and description of a chunk's file."""
    described = {"key": key.text, "layout": list(chunk.layout), "tokens": chunk.tokens}
    description = json.dumps(described, separators=(",", ":")).encode("ascii")
    head = HEAD.pack(MAGIC, FORMAT, 0, len(description), chunk.nbytes, zlib.crc32(chunk.payload), 0)[:-4]
    return head + struct.pack("<I", zlib.crc32(description, zlib.crc32(head))) + description


def write_chunk(path: Path, key: ChunkKey, chunk: Chunk) -> os.stat_result:
    """Write a chunk so that it is on the medium under its name when this returns.

    Returns:
        The facts of the file as it now is.

    Raises:
        OSError: Under the name is what was there before, or the chunk, whole but perhaps not on the medium.
    """
    with Aside(path.parent, 0o600) as aside:
        aside.write([packed(key, chunk), chunk.payload])
        now = time.time_ns()  # finer than the kernel's clock, so that any later write shows in the time
        os.utime(aside.descriptor, ns=(now, now))
        os.fsync(aside.descriptor)
        aside.rename(path)
        facts = os.fstat(aside.descriptor)
    sync(path.parent)
    return facts


def read_chunk(path: Path) -> tuple[str, Chunk]:
    """Read and check a chunk's file.

    Returns:
        The key's text as written, and the chunk.

    Raises:
        OSError: The file cannot be opened or read (FileNotFoundError: a plain miss).
        CorruptChunkError: Lengths or checksums do not fit; the message says which.
        NewerFormatError: Written by a later version.
    """
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        described, payload_length, payload_sum, offset = _read_header(file, size)
        payload = bytearray(payload_length)
        if _read_into(file, payload) != payload_length:
            raise CorruptChunkError("shorter than its header says")
    if size != offset + payload_length or zlib.crc32(payload) != payload_sum:
        raise CorruptChunkError("payload does not match its checksum")
    return described["key"], _chunk(described, payload)


def read_tokens(path: Path) -> int:
    """Tokens of a chunk's file by its header alone; 0 when it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            return int(_read_header(file, os.fstat(file.fileno()).st_size)[0]["tokens"])
    except (OSError, CorruptChunkError, NewerFormatError):
        return 0


def _read_into(file: Any, buffer: bytearray) -> int:
    view, done = memoryview(buffer), 0
    while done < len(buffer):
        count = file.readinto(view[done:])
        if not count:
            break
        done += count
    return done


def _read_header(file: Any, size: int) -> tuple[dict[str, Any], int, int, int]:
    head = file.read(HEAD.size)
    if len(head) < HEAD.size or head[:8] != MAGIC:
        raise CorruptChunkError("not a chunk file")
    _, number, _, description_length, payload_length, payload_sum, head_sum = HEAD.unpack(head)
    if number > FORMAT:
        raise NewerFormatError(f"format {number} of a later version; this one reads up to {FORMAT}")
    if description_length > LONGEST_DESCRIPTION or HEAD.size + description_length + payload_length != size:
        raise CorruptChunkError("its length is not the one that its header says")
    description = file.read(description_length)
    if zlib.crc32(description, zlib.crc32(head[:-4])) != head_sum:
        raise CorruptChunkError("header does not match its checksum")
    return _described(description), payload_length, payload_sum, HEAD.size + description_length


def _described(description: bytes) -> dict[str, Any]:
    try:
        described = json.loads(description)
        whole = isinstance(described["key"], str) and type(described["tokens"]) is int
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptChunkError(f"description cannot be read: {error}") from error
    if not whole:
        raise CorruptChunkError("description holds no key or no number of tokens")
    return dict(described)


def _chunk(described: dict[str, Any], payload: bytearray) -> Chunk:
    try:
        return Chunk(Layout(*described["layout"]), described["tokens"], memoryview(payload).toreadonly())
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptChunkError(f"description does not fit the payload: {error}") from error
