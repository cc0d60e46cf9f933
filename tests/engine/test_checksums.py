"""The payload's checksum is the one that its docstring describes, and tells damage of the kinds that disks do."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable

import pytest

from lmcache_admin.engine.backends.checksums import COLUMNS, table_sum

ROW = 8 * COLUMNS
PAGE = 4096
LARGE = random.Random(5).randbytes(256 * 1024)  # noqa: S311 - to be repeated, not secret


def described(payload: bytes) -> int:
    """As the docstring says it, word by word."""
    whole = len(payload) // ROW * ROW
    words = [int.from_bytes(payload[at : at + 8], "little") for at in range(0, whole, 8)]
    columns = [0] * COLUMNS
    for number, word in enumerate(words):
        columns[number % COLUMNS] ^= word
    rows = [sum(words[at : at + COLUMNS]) % 2**64 for at in range(0, len(words), COLUMNS)]
    packed = b"".join(number.to_bytes(8, "little") for number in columns + rows)
    return zlib.crc32(packed, zlib.crc32(payload[whole:]))


@pytest.mark.parametrize("length", [0, 1, 7, 8, ROW - 1, ROW, ROW + 1, 3 * ROW + 13])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_it_is_the_sum_that_is_described(length: int, kind: Callable[[bytes], bytes]) -> None:
    payload = LARGE[:length]
    assert table_sum(kind(payload)) == described(payload)


def test_every_single_flipped_bit_shows() -> None:
    right = table_sum(LARGE)
    chosen = random.Random(6)  # noqa: S311 - to be repeated, not secret
    for at in [0, 7, 8, ROW - 1, ROW, len(LARGE) - 1, *chosen.sample(range(len(LARGE)), 500)]:
        damaged = bytearray(LARGE)
        damaged[at] ^= 1 << chosen.randrange(8)
        assert table_sum(damaged) != right


def zeroed(payload: bytearray, at: int, size: int) -> None:
    payload[at : at + size] = bytes(size)


def repeated(payload: bytearray, at: int, size: int) -> None:
    payload[at : at + size] = payload[:size]


def inverted(payload: bytearray, at: int, size: int) -> None:
    payload[at : at + size] = bytes(byte ^ 255 for byte in payload[at : at + size])


def top_bits(payload: bytearray, at: int, size: int) -> None:
    for place in range(at + 7, at + size, 8):
        payload[place] ^= 128


def swapped(payload: bytearray, at: int, size: int) -> None:
    payload[at : at + size], payload[:size] = payload[:size], payload[at : at + size]


@pytest.mark.parametrize("damage", [zeroed, repeated, inverted, top_bits, swapped])
@pytest.mark.parametrize("size", [8, 512, PAGE, 2 * PAGE, 8 * PAGE])
def test_damage_to_whole_blocks_shows(damage: Callable[[bytearray, int, int], None], size: int) -> None:
    right = table_sum(LARGE)
    for at in range(8 * PAGE, len(LARGE), 8 * PAGE):
        damaged = bytearray(LARGE)
        damage(damaged, at, size)
        assert table_sum(damaged) != right


def test_the_same_damage_to_every_page_shows() -> None:
    right = table_sum(LARGE)
    for damage in (inverted, top_bits):
        damaged = bytearray(LARGE)
        for at in range(0, len(LARGE), PAGE):
            damage(damaged, at, PAGE)
        assert table_sum(damaged) != right
