"""Memory for chunks that is used again: fresh pages cost several times what copying into them does."""

from __future__ import annotations

import weakref
from collections import deque

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

SMALLEST = 128 * 1024  # below, the allocator itself uses memory again
SLAB = 8 * 1024 * 1024  # so large that NumPy asks the system for huge pages
KEPT = 64 * 1024 * 1024  # free bytes that are held back; what is free beyond goes back to the system


class BufferPool:
    """Hands out buffers of one size and takes each back when nothing refers to it any more.

    Args:
        nbytes: Size of the buffers; of less than `SMALLEST`, or of another size, a buffer is simply allocated.
    """

    def __init__(self, nbytes: int) -> None:
        self._nbytes = nbytes
        self._free: deque[memoryview] = deque()  # appended to when a buffer dies, whatever lock is held: no lock here

    def take(self, nbytes: int) -> Bytes:
        """A buffer with any content. Its memory is used again once it and all views of it are gone."""
        if nbytes != self._nbytes or nbytes < SMALLEST:
            return np.empty(nbytes, np.uint8)
        try:
            memory = self._free.pop()
        except IndexError:
            memory = self._more()
        buffer = np.frombuffer(memory, np.uint8)  # views of it keep it alive: its base is no array to be skipped
        weakref.finalize(buffer, self._take_back, memory).atexit = False
        return buffer

    def _more(self) -> memoryview:
        slab: memoryview = np.empty(max(SLAB // self._nbytes, 1) * self._nbytes, np.uint8).data
        pieces = [slab[start : start + self._nbytes] for start in range(0, len(slab), self._nbytes)]
        self._free.extend(pieces[1:])
        return pieces[0]

    def _take_back(self, memory: memoryview) -> None:
        if (len(self._free) + 1) * self._nbytes <= KEPT:
            self._free.append(memory)


class GrowingPool:
    """Hands out buffers of any size; those of the largest size that was asked for are used again."""

    def __init__(self) -> None:
        self._largest = 0
        self._pool = BufferPool(0)

    def take(self, nbytes: int) -> Bytes:
        """A buffer with any content, as `BufferPool.take` gives it."""
        if nbytes > self._largest:
            self._largest, self._pool = nbytes, BufferPool(nbytes)
        return self._pool.take(nbytes)
