"""What the memory backend does beyond the shared contract: policies, the hot cache's switch, clear beside others."""

from __future__ import annotations

import threading

import pytest

from lmcache_admin.engine.backends.memory import LocalCPUBackend
from lmcache_admin.engine.backends.protocol import REPORTED
from lmcache_admin.engine.chunks import Chunk, ChunkKey, Layout

LAYOUT = Layout(1, 1, 1, "uint8")


def key(number: int) -> ChunkKey:
    return ChunkKey("m", 1, 0, number, "uint8")


def chunk(number: int) -> Chunk:
    return Chunk(LAYOUT, 1, bytes([number % 256]))


@pytest.mark.parametrize(
    ("policy", "evicted"),
    [
        ("LRU", 1),  # the others were read after it came
        ("FIFO", 0),  # came first
        ("MRU", 1),  # was read last
        ("LFU", 2),  # was never read
    ],
)
def test_each_policy_evicts_its_own_victim(policy: str, evicted: int) -> None:
    backend = LocalCPUBackend(3, policy)
    for number in range(3):
        backend.put(key(number), chunk(number))
    reads = {"LRU": [2, 0], "FIFO": [0], "MRU": [2, 0, 1], "LFU": [0, 1, 0, 1]}[policy]
    for number in reads:
        backend.get(key(number))
    backend.put(key(3), chunk(3))
    assert [number for number in range(4) if not backend.contains(key(number))] == [evicted]


def test_contains_does_not_make_a_chunk_recently_used() -> None:
    backend = LocalCPUBackend(2, "LRU")
    backend.put(key(0), chunk(0))
    backend.put(key(1), chunk(1))
    assert backend.contains(key(0))
    backend.put(key(2), chunk(2))
    assert not backend.contains(key(0))


def test_switching_the_hot_cache_off_drops_its_content_and_takes_nothing_more() -> None:
    backend = LocalCPUBackend(10)
    backend.put(key(0), chunk(0))
    backend.set_enabled(False)
    assert not backend.put(key(1), chunk(1))
    backend.set_enabled(True)
    assert backend.stats()["chunks"] == 0


def test_nothing_fits_into_a_memory_that_is_off() -> None:
    backend = LocalCPUBackend(10)
    assert backend.room(2) == 5
    backend.set_enabled(False)
    assert backend.room(2) == 0


def test_a_chunk_of_another_layout_is_refused() -> None:
    backend = LocalCPUBackend(10, layout=LAYOUT)
    backend.submit_put_task(key(0), Chunk(Layout(1, 1, 2, "uint8"), 1, b"ab"))
    backend.submit_put_task(key(1), chunk(1))
    assert not backend.contains(key(0))
    assert backend.contains(key(1))


def test_others_store_and_read_while_100000_chunks_are_cleared() -> None:
    backend = LocalCPUBackend(10**6)
    for number in range(100_000):
        backend.put(key(number), chunk(number))
    cleared: list[int] = []
    clearing = threading.Thread(target=lambda: cleared.append(len(backend.clear())))
    clearing.start()
    served = 0
    while clearing.is_alive():
        assert backend.put(key(-5), chunk(5))
        served += backend.get(key(-5)) is not None
    clearing.join()
    assert served > 1
    assert cleared[0] in (100_000, 100_001)


def test_a_clear_that_is_ended_leaves_what_it_had_not_reached() -> None:
    backend = LocalCPUBackend(10**6)
    for number in range(4 * REPORTED):
        backend.put(key(number), chunk(number))
    told: list[int] = []

    def end_soon(count: int) -> None:
        told.append(count)
        if len(told) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        backend.clear(end_soon)
    assert backend.stats()["chunks"] == 4 * REPORTED - sum(told) == 2 * REPORTED
    assert sum(backend.clear().values()) == 2 * REPORTED
