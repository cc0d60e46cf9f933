"""A layer's KV cache as rows of bytes, whatever holds it: a NumPy array, or a tensor in host or device memory."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Numbers = NDArray[np.int64]

#: Bytes of a cache that are copied and hashed at a time.
PIECE = 1024 * 1024
_BFLOAT16 = "torch.bfloat16"
#: Types that NumPy has no name for and that are hashed as they are: their elements are single bytes.
_BYTES = ("torch.float8", "torch.float4")


def element_type(cache: Any, kv_dtype: str) -> str:
    """Return a cache's element type in torch's words, such as `torch.float16`.

    Args:
        cache: An array or a tensor.
        kv_dtype: The engine's own word for it: NumPy has no bfloat16, so an array of them is one of uint16.
    """
    if not isinstance(cache, np.ndarray):
        return str(cache.dtype)
    return _BFLOAT16 if kv_dtype == _BFLOAT16 and cache.dtype == np.uint16 else f"torch.{cache.dtype.name}"


def device_of(cache: Any) -> str:
    """Return where a cache lies, in torch's words: `cpu`, `cuda:0`."""
    return "cpu" if isinstance(cache, np.ndarray) else str(cache.device)


def slots_of(cache: Any) -> int:
    """Return how many slots a cache has by its shape: `[2, blocks, block size, ...]` or `[blocks, block size, ...]`."""
    shape = cache.shape
    return math.prod(shape[1:3] if cache.ndim == 5 else shape[:2])


class Scratch:
    """Memory of one thread, used again for each piece."""

    def __init__(self) -> None:
        self._bytes = np.empty(0, np.uint8)
        self._words = np.empty(0, np.uint32)

    def rows(self, count: int, width: int) -> Bytes:
        """Return room for `count` rows of `width` bytes."""
        if self._bytes.size < count * width:
            self._bytes = np.empty(max(count * width, PIECE), np.uint8)
        return self._bytes[: count * width].reshape(count, width)

    def widened(self, piece: Bytes) -> Bytes:
        """Return bfloat16 numbers as float32: the same bits above sixteen zeros."""
        halves = piece.view(np.uint16)
        if self._words.size < halves.size:
            self._words = np.empty(max(halves.size, PIECE // 2), np.uint32)
        words = self._words[: halves.size]
        np.copyto(words, halves)
        np.left_shift(words, 16, out=words)
        return words.view(np.uint8)


class _Source(Protocol):
    """Where rows come from."""

    def take(self, rows: Numbers, scratch: Scratch) -> Bytes:
        """Return the bytes of some rows, one behind the other, until `scratch` is used again."""


class Rows:
    """One layer, a row for each slot; `[2, blocks, block size, ...]` has a row for each slot in either half.

    Args:
        cache: An array or a tensor.
        kv_dtype: As in `element_type`.

    Raises:
        ValueError, TypeError, AttributeError: It cannot be read so.
    """

    def __init__(self, cache: Any, kv_dtype: str) -> None:
        shape = tuple(cache.shape)
        leading = shape[:3] if len(shape) == 5 else shape[:2]
        self._halves = 2 if len(shape) == 5 else 1
        self._wide = element_type(cache, kv_dtype) == _BFLOAT16
        rows, numbers = math.prod(leading), math.prod(shape[len(leading) :])
        if rows % self._halves or not numbers:
            raise ValueError(f"no rows of slots in the shape {list(shape)}")
        raw = cache if isinstance(cache, np.ndarray) else _raw(cache)
        self.width: int = numbers * raw.dtype.itemsize
        self.slots = rows // self._halves
        self._source = _source(raw, leading, rows)

    @property
    def slot_bytes(self) -> int:
        """Bytes of one slot."""
        return self.width * self._halves

    def pieces(self, slots: Numbers, scratch: Scratch) -> Iterator[tuple[int, Bytes]]:
        """Yield what is to be hashed of some slots, and how many bytes of the cache that is, piece by piece."""
        step = max(1, PIECE // self.width)
        for half in range(self._halves):
            rows = slots + half * self.slots
            for begin in range(0, len(rows), step):
                piece = self._source.take(rows[begin : begin + step], scratch)
                yield piece.size, scratch.widened(piece) if self._wide else piece


def _source(raw: Any, leading: Sequence[int], rows: int) -> _Source:
    if not isinstance(raw, np.ndarray):
        return _OnDevice(raw, leading)
    if raw.dtype.hasobject:
        raise TypeError("an array of Python objects has no bytes to compare")
    if raw.flags.c_contiguous:
        return _Contiguous(raw.reshape(rows, -1).view(np.uint8))
    return _Strided(raw, leading)


class _Contiguous:
    """Rows that lie one behind the other: neighbours need not be copied."""

    def __init__(self, flat: Bytes) -> None:
        self._flat = flat

    def take(self, rows: Numbers, scratch: Scratch) -> Bytes:
        first, last = int(rows[0]), int(rows[-1])
        if last - first == len(rows) - 1 and bool((np.diff(rows) == 1).all()):
            return self._flat[first : last + 1].reshape(-1)
        taken = scratch.rows(len(rows), self._flat.shape[1])
        np.take(self._flat, rows, axis=0, out=taken, mode="clip")  # other modes copy once more
        return taken.reshape(-1)


class _Strided:
    """Rows of a view whose memory is in another order."""

    def __init__(self, array: NDArray[Any], leading: Sequence[int]) -> None:
        self._array, self._leading = array, tuple(leading)

    def take(self, rows: Numbers, scratch: Scratch) -> Bytes:
        taken = self._array[np.unravel_index(rows, self._leading)]
        return np.ascontiguousarray(taken).reshape(-1).view(np.uint8)


class _OnDevice:
    """Rows of a tensor in another device's memory: picked there, so that nothing else crosses over."""

    def __init__(self, tensor: Any, leading: Sequence[int]) -> None:
        self._tensor, self._leading = tensor, tuple(leading)

    def take(self, rows: Numbers, scratch: Scratch) -> Bytes:
        torch: Any = sys.modules["torch"]
        places = np.unravel_index(rows, self._leading)
        index = tuple(torch.as_tensor(place, device=self._tensor.device) for place in places)
        taken: NDArray[Any] = self._tensor[index].cpu().contiguous().numpy()
        return taken.reshape(-1).view(np.uint8)


def _raw(tensor: Any) -> Any:
    """A tensor's memory as an array if the host can read it, else the tensor; either in a type that NumPy knows."""
    name, detached = str(tensor.dtype), tensor.detach()
    if name == _BFLOAT16:
        detached = detached.view(sys.modules["torch"].int16)
    elif name.startswith(_BYTES):
        detached = detached.view(sys.modules["torch"].uint8)
    return detached.numpy() if str(tensor.device) == "cpu" else detached
