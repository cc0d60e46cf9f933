"""Chunk statistics as an operator reads them: counts worked out by hand, for both ways of keeping them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmcache_admin.engine import Manager
from lmcache_admin.engine.statistics import ChunkStatisticsLookupClient

Counting = Callable[..., ChunkStatisticsLookupClient]
THREAD = "lmcache-admin-statistics"
STRATEGIES = ["memory_bloom_filter", "file_hash"]
A, B = list(range(48)), list(range(1000, 1040))  # 3 chunks; 2 chunks and one of 8 tokens


def look_up(client: ChunkStatisticsLookupClient, *prompts: list[int]) -> None:
    """Look prompts up, each as a request of its own."""
    for prompt in prompts:
        look_up.number += 1
        client.lookup(prompt, f"request-{look_up.number}")


look_up.number = 0


def counts(client: ChunkStatisticsLookupClient) -> tuple[int, int, int, int]:
    """Requests, chunks, unique and duplicate ones."""
    figures = client.get_statistics()
    return tuple(figures[f] for f in ("total_requests", "total_chunks", "unique_chunks", "duplicate_chunks"))


def counters() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == THREAD]


@pytest.fixture(name="make", params=STRATEGIES)
def make_fixture(request: pytest.FixtureRequest, counting: Counting, tmp_path: Path) -> Counting:
    """Clients of either strategy."""

    def make(**keys: Any) -> ChunkStatisticsLookupClient:
        extra = {"file_output_dir": str(tmp_path / "hashes"), **keys.pop("extra", {})}
        return counting(extra, chunk_statistics_strategy=request.param, **keys)

    return make


def test_repeated_prompts_count_as_reuse(make: Counting) -> None:
    client = make()
    client.start_statistics()
    look_up(client, A)
    assert counts(client) == (1, 3, 3, 0)
    look_up(client, A, B)
    assert counts(client) == (3, 9, 6, 3)
    look_up(client, [*A, *B])  # A's chunks, and three that follow A and so are others than B's own
    assert counts(client) == (4, 15, 9, 6)
    assert client.get_statistics()["reuse_rate"] == 6 / 15
    look_up(client, [])
    assert counts(client) == (5, 15, 9, 6)


@pytest.mark.parametrize("unfull", [False, True])
def test_a_last_shorter_chunk_counts_whether_it_is_stored_or_not(make: Counting, unfull: bool) -> None:
    client = make(save_unfull_chunk=unfull)
    client.start_statistics()
    look_up(client, A[:40], [1, 2])
    assert counts(client) == (2, 4, 4, 0)
    look_up(client, A[:40], A[:39], A)  # all; two and another last one; two and a whole last one
    assert counts(client) == (5, 13, 6, 7)


def test_a_request_counts_once_however_often_it_is_looked_up(make: Counting) -> None:
    client = make()
    client.start_statistics()
    for _ in range(5):
        client.lookup(A, "same")
    assert counts(client) == (1, 3, 3, 0)


def test_nothing_counts_before_the_start_nor_after_the_stop_and_figures_stay(make: Counting) -> None:
    client = make()
    look_up(client, A)
    assert counts(client) == (0, 0, 0, 0)
    client.start_statistics()
    look_up(client, A)
    client.stop_statistics()
    look_up(client, B)
    assert counts(client) == (1, 3, 3, 0)
    assert client.get_statistics()["enabled"] is False
    client.start_statistics()
    look_up(client, A)
    assert counts(client) == (2, 6, 3, 3)
    assert client.get_statistics()["enabled"] is True


def test_a_reset_forgets_what_was_seen_and_keeps_counting(make: Counting) -> None:
    client = make()
    client.start_statistics()
    look_up(client, A, A)
    client.reset_statistics()
    assert counts(client) == (0, 0, 0, 0)
    assert client.get_statistics()["enabled"] is True
    look_up(client, A)
    assert counts(client) == (1, 3, 3, 0)


def test_the_thread_lives_from_start_to_stop(make: Counting) -> None:
    client = make()
    assert counters() == []
    client.start_statistics()
    client.start_statistics()
    assert counters() == [THREAD]
    client.stop_statistics()
    assert counters() == []
    client.start_statistics()
    client.close()
    client.close()
    assert counters() == []


def test_what_is_in_the_queue_at_the_stop_is_counted(make: Counting) -> None:
    client = make()
    client.start_statistics()
    look_up(client, *[[number] * 16 for number in range(200)])
    client.stop_statistics()
    assert counts(client) == (200, 200, 200, 0)


def test_counting_can_begin_with_the_client(make: Counting) -> None:
    client = make(chunk_statistics_auto_start_statistics=True)
    look_up(client, A)
    assert counts(client) == (1, 3, 3, 0)


def test_counting_ends_by_itself_at_the_target(
    make: Counting, eventually: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    client = make(chunk_statistics_auto_exit_target_unique_chunks=5)
    client.start_statistics()
    look_up(client, A, A)
    assert client.get_statistics()["enabled"] is True
    look_up(client, B)
    eventually(lambda: not client.get_statistics()["enabled"])
    eventually(lambda: counters() == [])
    assert counts(client) == (3, 9, 6, 3)
    assert "6 unique chunks are counted" in caplog.text


def test_counting_ends_by_itself_when_its_time_is_over_without_any_lookup(
    make: Counting, eventually: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    client = make(chunk_statistics_auto_exit_timeout_hours=1e-6)
    client.start_statistics()
    eventually(lambda: counters() == [])
    assert client.get_statistics()["enabled"] is False
    assert "1e-06 hours are over" in caplog.text


def test_lookups_find_the_same_with_statistics_and_without(
    make: Counting, make_manager: Callable[..., Manager]
) -> None:
    client = make(lmcache_instance_id=f"counted-{id(make)}")
    engine = make_manager(lmcache_instance_id=f"counted-{id(make)}").lmcache_engine
    assert engine is not None
    engine.store(A)
    found = [client.lookup(A, "1")]
    client.start_statistics()
    found += [client.lookup(A, "2"), client.lookup_cache("2"), client.lookup_cache("3")]
    client.clear_lookup_status("2")
    assert [*found, client.lookup_cache("2")] == [48, 48, 48, -1, -1]
    assert client.supports_producer_reuse()


def test_the_bloom_filters_figures_stand_in_the_order_of_lmcache(counting: Counting) -> None:
    client = counting({"mem_bf_expected_chunks": 1000, "async_queue_capacity": 50})
    client.start_statistics()
    look_up(client, A)
    figures = client.get_statistics()
    assert list(figures) == [
        "enabled", "total_requests", "timing", "total_chunks", "unique_chunks", "duplicate_chunks", "reuse_rate",
        "bloom_filter", "async_queue",
    ]  # fmt: skip
    assert list(figures["timing"]) == [
        "lookup_time_seconds", "record_statistics_time_seconds", "check_exit_conditions_time_seconds",
        "total_time_seconds", "overhead_time_seconds", "overhead_percentage",
    ]  # fmt: skip
    bloom = figures["bloom_filter"]
    assert list(bloom) == [
        "size_mb", "hash_count", "item_count", "bits_set", "fill_rate", "expected_elements", "false_positive_rate",
    ]  # fmt: skip
    assert (bloom["size_mb"], bloom["hash_count"], bloom["item_count"]) == (1199 / 2**20, 7, 3)  # 9586 bits
    assert (bloom["bits_set"], bloom["fill_rate"]) == (21, 21 / 9586)  # three numbers of seven bits
    assert figures["async_queue"] == {
        "capacity": 50, "current_size": 0, "max_size_reached": 1, "full_blocks": 0, "utilization": 0.0
    }  # fmt: skip


def test_timing_adds_up(counting: Counting) -> None:
    client = counting()
    client.start_statistics()
    look_up(client, A, B)
    timing = client.get_statistics()["timing"]
    lookup, record, check, total, overhead, percentage = timing.values()
    assert min(lookup, record) > 0
    assert total == pytest.approx(lookup + record + check)
    assert overhead == pytest.approx(record + check)
    assert percentage == pytest.approx(100 * overhead / total)
    client.reset_statistics()
    assert client.get_statistics()["timing"] == timing


def test_more_than_the_expected_chunks_are_said_once(counting: Counting, caplog: pytest.LogCaptureFixture) -> None:
    client = counting({"mem_bf_expected_chunks": 4, "mem_bf_false_positive_rate": 1e-6})
    client.start_statistics()
    with caplog.at_level(logging.WARNING):
        look_up(client, *[list(range(number, number + 48)) for number in range(0, 500, 50)])
        client.stop_statistics()
    said = [record for record in caplog.records if "More than the expected 4" in record.getMessage()]
    assert len(said) == 1


def test_wrappers_stand_in_the_order_of_lmcache(make_manager: Callable[..., Manager]) -> None:
    manager = make_manager("scheduler", enable_chunk_statistics=True, hit_miss_ratio=0.5)
    name = "ChunkStatisticsLookupClient(HitLimitLookupClient(LookupClient))"
    assert manager.get_lookup_info()["client"] == name
    assert manager.create_lookup_client(dryrun=True) == {"new": name, "dryrun": True}
    assert counters() == []


def test_a_replaced_client_ends_its_thread(make_manager: Callable[..., Manager]) -> None:
    manager = make_manager("scheduler", enable_chunk_statistics=True, chunk_statistics_auto_start_statistics=True)
    assert counters() == [THREAD]
    manager.recreate_lookup_client()
    assert counters() == [THREAD]
    manager.config.enable_chunk_statistics = False
    assert manager.create_lookup_client() == {"new": "LookupClient"}
    assert counters() == []


def test_everything_at_once_gives_no_fault_and_right_counts_afterwards(make: Counting) -> None:
    client = make(extra={"async_queue_capacity": 50})
    done = threading.Event()
    faults: list[str] = []

    def guarded(work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - any error at all is a finding
            faults.append(repr(error))

    def manage() -> None:
        acts = [client.start_statistics, client.get_statistics, client.stop_statistics, client.reset_statistics]
        while not done.is_set():
            for act in acts:
                guarded(act)

    def ask(seed: int) -> None:
        for number in range(200):
            guarded(lambda number=number: client.lookup([seed * 1000 + number] * 32, f"{seed}-{number}"))

    manager = threading.Thread(target=manage)
    askers = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in (manager, *askers):
        thread.start()
    for thread in askers:
        thread.join()
    done.set()
    manager.join()
    assert faults == []
    client.start_statistics()
    client.reset_statistics()
    look_up(client, A, A)
    assert counts(client) == (2, 6, 3, 3)
