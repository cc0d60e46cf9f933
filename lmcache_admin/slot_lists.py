"""`slot_mapping` of the contract: which slots of a KV cache are meant, kept as ranges."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmcache_admin.errors import Invalid

#: Most slots that one request may name (requirement S48).
MAX_SLOTS = 100_000
_LARGEST = 2**64 - 1
_MARK = re.compile(r"[\[\],]")
_RANGE = re.compile(r"\[(\d+),(\d+)\]")
_SHORTEST_RUN = 3  # the contract writes two in a row as single numbers


@dataclass(frozen=True)
class SlotList:
    """Slots in the order asked for, repeats included.

    Args:
        runs: First and last slot of each run of ascending neighbours; no run continues the one before.
    """

    runs: tuple[tuple[int, int], ...]

    @classmethod
    def parse(cls, text: str) -> SlotList:
        """Read `0,5,[7,20]`: numbers and ranges, both ends included, any order, blanks anywhere.

        Raises:
            Invalid: Empty, malformed, or more than `MAX_SLOTS` slots; nothing has been expanded by then.
        """
        if not text:
            raise Invalid("Missing parameters", "slot_mapping parameter is required")
        try:
            return cls(_joined([_run(part) for part in _parts("".join(text.split()))]))
        except ValueError as error:
            reason = f"slot_mapping must be comma-separated integers or ranges like [start,end]: {error}"
            raise Invalid("Invalid slot_mapping format", reason) from None

    def __len__(self) -> int:
        """Return the number of slots."""
        return sum(last - first + 1 for first, last in self.runs)

    def __iter__(self) -> Iterator[int]:
        """Yield every slot."""
        for first, last in self.runs:
            yield from range(first, last + 1)

    def ranges(self) -> list[int | list[int]]:
        """Return the slots as the contract shows them: from three neighbours on as `[first, last]`."""
        shown: list[int | list[int]] = []
        for first, last in self.runs:
            long = last - first + 1 >= _SHORTEST_RUN
            shown += [[first, last]] if long else range(first, last + 1)
        return shown

    def outside(self, count: int) -> list[int]:
        """Return the slots that are none of 0 to `count` - 1."""
        runs = [(first, last) for first, last in self.runs if first < 0 or last >= count]
        return [slot for slot in SlotList(tuple(runs)) if not 0 <= slot < count]

    def numbers(self) -> NDArray[np.int64]:
        """Return the slots as an array; all of them have to fit."""
        return np.fromiter(self, np.int64, len(self))


def _parts(text: str) -> list[str]:
    """Split at commas, but not in brackets, and behind each closing bracket."""
    parts, begin, inside = [], 0, False
    for found in _MARK.finditer(text):
        mark, end = found[0], found.end()
        if mark == "[":
            if inside:
                raise ValueError("Nested brackets not allowed")
            inside = True
        elif mark == "]":
            if not inside:
                raise ValueError("Unmatched closing bracket")
            inside = False
            parts.append(text[begin:end])
            begin = end
        elif not inside:
            parts.append(text[begin : end - 1])
            begin = end
    if inside:
        raise ValueError("Unclosed bracket")
    return [part for part in [*parts, text[begin:]] if part]


def _run(part: str) -> tuple[int, int]:
    if found := _RANGE.fullmatch(part):
        first, last = int(found[1]), int(found[2])
        if first > last:
            raise ValueError(f"Range start {first} must be <= end {last}")
        return first, last
    try:
        slot = int(part)
    except ValueError:
        raise ValueError(f"Invalid slot format: '{part}'") from None
    return slot, slot


def _joined(runs: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Join each run with one that continues it.

    Raises:
        ValueError: Too many slots, or numbers that no slot has.
    """
    count = sum(last - first + 1 for first, last in runs)
    if count > MAX_SLOTS:
        raise ValueError(f"{count} slots asked, at most {MAX_SLOTS} allowed")
    joined: list[tuple[int, int]] = []
    for first, last in runs:
        if last > _LARGEST or first < -_LARGEST:
            raise ValueError(f"slot numbers go up to {_LARGEST}")
        if joined and joined[-1][1] + 1 == first:
            first = joined.pop()[0]
        joined.append((first, last))
    return tuple(joined)
