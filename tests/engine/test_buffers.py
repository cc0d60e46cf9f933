"""Buffers are used again, but never while anything can still see their content."""

from __future__ import annotations

import random

import numpy as np
import pytest

from lmcache_admin.engine.buffers import KEPT, SLAB, SMALLEST, BufferPool, GrowingPool

SIZE = 2 * SMALLEST


def address(buffer: np.ndarray) -> int:
    return int(buffer.__array_interface__["data"][0])


def test_the_memory_of_a_dropped_buffer_is_used_again() -> None:
    pool = BufferPool(SIZE)
    first = pool.take(SIZE)
    where = address(first)
    del first
    assert address(pool.take(SIZE)) == where


@pytest.mark.parametrize(
    "view",
    [
        lambda buffer: buffer.data.toreadonly(),
        lambda buffer: buffer.view(np.float16).reshape(2, -1),
        lambda buffer: buffer[5:9][1:],
        lambda buffer: np.frombuffer(buffer.data.toreadonly()[8:], np.uint8).reshape(4, -1),
    ],
)
def test_a_view_alone_keeps_a_buffer_from_being_used_again(view: object) -> None:
    assert callable(view)
    pool = BufferPool(SIZE)
    kept = view(pool.take(SIZE))
    before = bytes(kept)
    others = [pool.take(SIZE) for _ in range(3 * SLAB // SIZE)]
    for other in others:
        other[:] = 1 + (other[0] == 1)
    assert bytes(kept) == before


@pytest.mark.parametrize("size", [16, SMALLEST - 1, SIZE + 1])
def test_a_buffer_of_any_other_size_has_that_size(size: int) -> None:
    assert BufferPool(SIZE).take(size).nbytes == size
    assert BufferPool(size).take(size).nbytes == size


def test_a_buffer_larger_than_a_slab_is_possible() -> None:
    assert BufferPool(SLAB + 1).take(SLAB + 1).nbytes == SLAB + 1


def test_no_more_than_the_limit_is_held_back() -> None:
    pool = BufferPool(SIZE)
    taken = [pool.take(SIZE) for _ in range(4 * KEPT // SIZE)]
    taken.clear()
    assert len(pool._free) * SIZE <= KEPT


def test_a_growing_pool_uses_the_largest_buffers_again() -> None:
    pool = GrowingPool()
    assert [pool.take(size).nbytes for size in (SIZE, 100, 2 * SIZE, SIZE)] == [SIZE, 100, 2 * SIZE, SIZE]
    first = pool.take(2 * SIZE)
    where = address(first)
    del first
    assert address(pool.take(2 * SIZE)) == where


def test_a_buffer_beyond_the_limit_is_given_back_to_the_system() -> None:
    pool = GrowingPool()
    pool.take(KEPT + 1)
    assert len(pool._pool._free) == 0


def test_random_taking_and_dropping_never_shares_a_buffer() -> None:
    pool, chosen = BufferPool(SIZE), random.Random(3)  # noqa: S311 - to be repeated, not secret
    live: dict[int, memoryview] = {}
    for number in range(3000):
        if len(live) > 20 or (live and chosen.random() < 0.4):
            gone = chosen.choice(sorted(live))
            assert live.pop(gone)[::SMALLEST].tobytes() == gone.to_bytes(2, "big")
        buffer = pool.take(SIZE)
        buffer[0], buffer[SMALLEST] = number >> 8, number & 255
        live[number] = buffer.data.toreadonly()
