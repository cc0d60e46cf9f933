"""Tokens to chunks: a chain of prefix hashes, the keys made of them, and a chunk's bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

# Reserved for a health probe's chunks, which are not counted and evict nothing.
PROBE_MODEL = "lmcache-admin-probe"

# What a request's setting with this prefix says is part of its chunks' keys. Source: LMCache 0.5.6.
TAG = "lmcache.tag."

# Names of element types in keys, with their size in bytes. Source: LMCache 0.5.6's own names.
DTYPE_SIZES = {
    "half": 2,
    "bfloat16": 2,
    "float": 4,
    "double": 8,
    "uint8": 1,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "bool": 1,
    "fp8_e4m3fn": 1,
    "fp8_e4m3fnuz": 1,
    "fp8_e5m2": 1,
    "fp8_e5m2fnuz": 1,
}


class ChunkKey(NamedTuple):
    """Name of one chunk, the same as LMCache's.

    Args:
        model_name: As in the engine's metadata; may hold `/`, never `@`.
        world_size: Number of workers.
        worker_id: Worker that holds this part of the KV cache.
        chunk_hash: Hash over the chunk and all tokens before it, 64 bit, may be negative.
        dtype: A name of `DTYPE_SIZES`.
        tags: Name and value pairs that a request added.
    """

    model_name: str
    world_size: int
    worker_id: int
    chunk_hash: int
    dtype: str
    tags: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """The key as `model@world_size@worker_id@HASHHEX@dtype`, tags appended as `@name%value`."""
        tags = "".join(f"@{name}%{value}" for name, value in self.tags)
        return f"{self.model_name}@{self.world_size}@{self.worker_id}@{self.chunk_hash:x}@{self.dtype}{tags}"

    @property
    def reserved(self) -> bool:
        """Whether the key belongs to a health probe."""
        return self.model_name == PROBE_MODEL

    @classmethod
    def parse(cls, text: str) -> ChunkKey:
        """Read a key's text back.

        Raises:
            ValueError: A text that is no key, or an unknown element type.
        """
        parts = text.split("@")
        if len(parts) < 5 or parts[4] not in DTYPE_SIZES or not all("%" in tag for tag in parts[5:]):
            raise ValueError(f"not a chunk key: {text[:200]!r}")
        tags = tuple((name, value) for name, _, value in (tag.partition("%") for tag in parts[5:]))
        return cls(parts[0], int(parts[1]), int(parts[2]), int(parts[3], 16), parts[4], tags)


class Layout(NamedTuple):
    """How a chunk's payload lies: `[planes, layers, tokens, width]`, C order.

    Args:
        planes: 2 (keys, values), or 1 for MLA.
        layers: Number of layers.
        width: Elements per token, layer and plane (heads x head size).
        dtype: A name of `DTYPE_SIZES`.
    """

    planes: int
    layers: int
    width: int
    dtype: str

    def nbytes(self, tokens: int) -> int:
        """Bytes of a chunk of so many tokens."""
        return self.planes * self.layers * tokens * self.width * DTYPE_SIZES[self.dtype]


@dataclass(frozen=True, slots=True)
class Chunk:
    """The KV bytes of a run of tokens; never changed once made."""

    layout: Layout
    tokens: int
    payload: bytes | bytearray | memoryview

    def __post_init__(self) -> None:
        if len(self.payload) != self.layout.nbytes(self.tokens):
            raise ValueError(
                f"{self.tokens} tokens of {self.layout} need {self.layout.nbytes(self.tokens)} bytes, "
                f"not {len(self.payload)}"
            )

    @property
    def nbytes(self) -> int:
        """Bytes of the payload."""
        return len(self.payload)


def chunk_hashes(
    tokens: Sequence[int], chunk_size: int, *, partial: bool = False
) -> Iterator[tuple[int, int, int]]:
    """Cut tokens into chunks and hash each together with all before it.

    The hash is CPython's of a tuple of whole numbers: the same in each process and version on a 64-bit
    machine, whatever PYTHONHASHSEED says. In it -1 equals -2; a model's tokens are never negative.

    Args:
        tokens: Token ids.
        chunk_size: Tokens per chunk, from 1.
        partial: Whether a last, shorter chunk counts.

    Yields:
        Start, end and hash of each chunk.

    Source: LMCache 0.5.6, hash algorithm `builtin`.
    """
    end = len(tokens) if partial else len(tokens) - len(tokens) % chunk_size
    chained = 0
    for start in range(0, end, chunk_size):
        stop = min(start + chunk_size, end)
        chained = hash((chained, tuple(tokens[start:stop]), ()))
        yield start, stop, chained


def tags_of(request_configs: Mapping[str, Any] | None) -> tuple[tuple[str, str], ...]:
    """The tags among a request's settings, in their order, as `ChunkKey.tags` has them."""
    given = request_configs or {}
    return tuple((name.removeprefix(TAG), str(value)) for name, value in given.items() if name.startswith(TAG))
