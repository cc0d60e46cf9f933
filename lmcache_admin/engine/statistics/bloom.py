"""A Bloom filter over 64-bit numbers: which have been seen, in a fixed number of bits."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_OTHER = np.uint64(0xD1B54A32D192ED03)


def optimal_bits(expected: int, rate: float) -> int:
    """Bits for so many numbers and that rate of false positives: -n ln p / (ln 2)^2."""
    return max(8, math.ceil(-expected * math.log(rate) / math.log(2) ** 2))


class BloomFilter:
    """Never forgets a number, and mistakes a few for seen; its memory is taken at the first `add`.

    Args:
        expected: Numbers that it is made for; beyond them more and more are mistaken.
        rate: Share of new numbers that are mistaken for seen when so many are in it; between 0 and 1.

    Source: B. H. Bloom, 1970. A number's positions are h1 + i h2, as A. Kirsch and M. Mitzenmacher, "Less
    Hashing, Same Performance", 2006; h1 and h2 come from the finaliser of splitmix64 (G. Steele and others, 2014).
    """

    def __init__(self, expected: int, rate: float) -> None:
        self.expected = expected
        self.rate = rate
        self.size = optimal_bits(expected, rate)
        self.hash_count = max(1, round(self.size / expected * math.log(2)))
        self.item_count = 0
        self.bits_set = 0
        self._bits: NDArray[np.uint8] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that it takes once something is in it."""
        return (self.size + 7) // 8

    @property
    def fill_rate(self) -> float:
        """Share of the bits that are set; one half when it holds what it is made for."""
        return self.bits_set / self.size

    def add(self, numbers: Numbers) -> int:
        """Put numbers in; how many of them were new, each counted once."""
        if self._bits is None:
            self._bits = np.zeros(self.nbytes, np.uint8)
        positions = self._positions(np.unique(numbers))
        unset = self._bits[positions >> 3] & _masks(positions) == 0
        fresh = np.unique(positions[unset])
        np.bitwise_or.at(self._bits, fresh >> 3, _masks(fresh))
        new = int(unset.any(axis=1).sum())
        self.item_count += new
        self.bits_set += len(fresh)
        return new

    def seen(self, numbers: Numbers) -> NDArray[np.bool_]:
        """For each number whether it is in, or mistaken for one that is."""
        if self._bits is None:
            return np.zeros(len(numbers), np.bool_)
        positions = self._positions(numbers)
        found: NDArray[np.bool_] = (self._bits[positions >> 3] & _masks(positions) != 0).all(axis=1)
        return found

    def clear(self) -> None:
        """Forget all, and give the memory back."""
        self._bits = None
        self.item_count = self.bits_set = 0

    def _positions(self, numbers: Numbers) -> NDArray[np.int64]:
        """One row per number, one column per hash."""
        first = _mixed(numbers + _GOLDEN)
        second = _mixed(numbers + _OTHER) | np.uint64(1)
        steps = np.arange(self.hash_count, dtype=np.uint64)
        positions: NDArray[np.int64] = (
            (first[:, np.newaxis] + steps * second[:, np.newaxis]) % np.uint64(self.size)
        ).astype(np.int64)
        return positions


def _masks(positions: NDArray[np.int64]) -> NDArray[np.uint8]:
    masks: NDArray[np.uint8] = np.uint8(1) << (positions & 7).astype(np.uint8)
    return masks


def _mixed(numbers: Numbers) -> Numbers:
    mixed: Numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed
