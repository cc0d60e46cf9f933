"""The Bloom filter: its size by the formulas, its mistakes by counting them, its memory by measuring it."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from lmcache_admin.engine.statistics import BloomFilter


def numbers(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)


@pytest.mark.parametrize(
    ("expected", "rate", "bits", "hashes"),
    [
        # -n ln p / (ln 2)^2 and m/n ln 2, worked out by hand: 9.585 bits and 6.64 hashes a number at 1 %
        (1000, 0.01, 9586, 7),
        (20_000_000, 0.01, 191_701_168, 7),
        (1000, 0.001, 14_378, 10),
        (100, 0.5, 145, 1),
        (1, 0.999, 8, 6),
    ],
)
def test_its_size_follows_from_numbers_and_rate(expected: int, rate: float, bits: int, hashes: int) -> None:
    bloom = BloomFilter(expected, rate)
    assert (bloom.size, bloom.hash_count) == (bits, hashes)


def test_each_new_number_counts_once() -> None:
    bloom = BloomFilter(10_000, 1e-6)
    assert bloom.add(np.array([1, 2, 3, 2**64 - 1], np.uint64)) == 4
    assert bloom.add(np.array([3, 4, 4, 5], np.uint64)) == 2
    assert bloom.add(np.array([1, 2, 3, 4, 5], np.uint64)) == 0
    assert bloom.item_count == 6


def test_no_number_is_forgotten_and_new_ones_are_mistaken_at_the_rate() -> None:
    bloom = BloomFilter(100_000, 0.01)
    inserted = numbers(100_000, 1)
    new = sum(bloom.add(inserted[start : start + 500]) for start in range(0, 100_000, 500))
    assert bloom.seen(inserted).all()
    # half the bits are set, up to chance; 7 of 7 being set is then 0.78 % to 1.1 %
    assert bloom.fill_rate == pytest.approx(0.5, abs=0.02)
    mistaken = bloom.seen(numbers(100_000, 2)).mean()
    deviation = math.sqrt(0.01 * 0.99 / 100_000)
    assert abs(mistaken - 0.01) < 6 * deviation
    assert new >= 99_500  # while it fills fewer are mistaken than at the end


def test_numbers_one_after_the_other_are_no_worse() -> None:
    bloom = BloomFilter(50_000, 0.01)
    bloom.add(np.arange(50_000, dtype=np.uint64))
    assert bloom.seen(np.arange(50_000, 150_000, dtype=np.uint64)).mean() < 0.013


def test_its_bits_are_counted_as_they_are_set() -> None:
    bloom = BloomFilter(1000, 0.01)
    bloom.add(numbers(700, 3))
    bloom.add(numbers(700, 4))
    assert bloom._bits is not None
    assert bloom.bits_set == int(np.unpackbits(bloom._bits).sum())


def test_memory_is_taken_with_the_first_number_and_given_back() -> None:
    tracemalloc.start()
    try:
        bloom = BloomFilter(20_000_000, 0.01)
        assert not bloom.seen(np.array([1], np.uint64)).any()
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
        bloom.add(np.array([1], np.uint64))
        assert tracemalloc.get_traced_memory()[0] > 23_000_000
        bloom.clear()
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()
    assert (bloom.item_count, bloom.bits_set) == (0, 0)
