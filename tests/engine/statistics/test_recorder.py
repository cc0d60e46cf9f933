"""The queue in front of the counting: its bounds, and that nobody waits for it."""

from __future__ import annotations

import os
import threading
from array import array
from collections.abc import Iterator
from typing import Any

import pytest

from lmcache_admin.engine.statistics import recorder
from lmcache_admin.engine.statistics.recorder import Recorder

# Python 3.12 and later warn of each fork of a process with threads, which is what is tested here
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


class Gate:
    """A recording that stands still until it is opened: how else could a queue fill at a known moment?"""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.entered = threading.Event()
        self.fault: Exception | None = None

    def open(self) -> None:
        """Nothing to do."""

    def record(self, hashes: array[int], lookup_id: str) -> int:
        self.entered.set()
        assert self.opened.wait(30)
        if self.fault is not None:
            raise self.fault
        return len(hashes)

    def describe(self) -> dict[str, Any]:
        return {}

    def reset(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


@pytest.fixture(name="gate")
def gate_fixture() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()


@pytest.fixture(name="kept")
def kept_fixture(gate: Gate) -> Iterator[Recorder]:
    """A recorder for four lookups, with one of them being counted."""
    kept = Recorder(gate, capacity=4)
    kept.start()
    kept.put([0], "first")
    assert gate.entered.wait(30)
    yield kept
    gate.opened.set()
    kept.close()


def test_a_full_queue_leaves_lookups_out_and_counts_them(gate: Gate, kept: Recorder) -> None:
    for number in range(10):
        kept.put([number], f"{number}")
    queue = kept.figures()["async_queue"]
    assert queue == {
        "capacity": 4, "current_size": 4, "max_size_reached": 4, "full_blocks": 6, "utilization": 1.0
    }  # fmt: skip
    gate.opened.set()
    kept.stop()
    figures = kept.figures()
    assert (figures["total_requests"], figures["total_chunks"]) == (5, 5)
    assert figures["async_queue"]["current_size"] == 0


def test_what_was_left_out_counts_when_it_is_looked_up_again(gate: Gate, kept: Recorder) -> None:
    for number in range(5):
        kept.put([number], f"{number}")
    gate.opened.set()
    assert kept.figures()["total_chunks"] == 5
    kept.put([4], "4")
    kept.put([0], "0")
    assert kept.figures()["total_chunks"] == 6


def test_the_queue_is_bounded_in_chunks_too(
    gate: Gate, kept: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "MOST_CHUNKS", 100)
    kept.put(list(range(60)), "a")
    kept.put(list(range(60)), "b")
    kept.put(list(range(40)), "c")
    assert kept.figures()["async_queue"]["current_size"] == 2
    assert kept.figures()["async_queue"]["full_blocks"] == 1


def test_figures_come_even_while_the_counting_stands_still(gate: Gate, kept: Recorder) -> None:
    assert kept.figures()["total_requests"] == 1
    assert kept.figures()["total_chunks"] == 0


def test_a_reset_drops_what_is_in_the_queue(gate: Gate, kept: Recorder) -> None:
    kept.put([1], "1")
    kept.put([2], "2")
    done = threading.Thread(target=kept.reset)
    done.start()
    gate.opened.set()
    done.join()
    figures = kept.figures()
    assert (figures["total_requests"], figures["total_chunks"], figures["async_queue"]["current_size"]) == (0, 0, 0)
    kept.put([3], "1")
    assert kept.figures()["total_chunks"] == 1


def test_a_fault_ends_the_counting_and_nothing_else(
    gate: Gate, kept: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    gate.fault = MemoryError("no memory for the filter")
    kept.put([1], "1")
    gate.opened.set()
    kept.stop()
    assert kept.running is False
    assert kept.figures()["async_queue"]["current_size"] == 0
    assert "Chunk statistics end" in caplog.text
    gate.fault = None
    kept.start()
    kept.put([2], "2")
    assert kept.figures()["total_chunks"] == 1


def test_the_oldest_of_many_requests_are_forgotten(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "REMEMBERED", 3)
    gate.opened.set()
    kept = Recorder(gate, capacity=100)
    kept.start()
    for name in ("a", "b", "c", "a", "d", "a", "b"):  # b is the one that was looked up longest ago when d comes
        kept.put([1], name)
    assert kept.figures()["total_requests"] == 5
    kept.close()


def test_a_forked_child_counts_nothing_until_it_starts_anew(gate: Gate, kept: Recorder) -> None:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            assert kept.running is False
            kept.put([1], "1")
            kept.stop()
            gate.opened.set()
            kept.start()
            kept.put([1, 2], "2")
            kept.stop()
            assert kept.figures()["total_chunks"] == 2
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert kept.running
