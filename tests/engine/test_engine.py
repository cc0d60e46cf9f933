"""Store, lookup, retrieve and clear of the embedded engine on real KV caches and real backends."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmcache_admin.engine import Engine

MEMORY, DISK = "LocalCPUBackend", "LocalDiskBackend"
MakeEngine = Callable[..., Engine]
TOKENS = list(range(40))


def caches(engine: Engine) -> list[Any]:
    return engine.gpu_connector.kvcaches


def slot_bytes(engine: Engine, slot: int) -> list[bytes]:
    """The bytes of one slot, found by block and offset, without the engine's own copying."""
    found = []
    for cache in caches(engine):
        planes = cache if cache.ndim == 5 else cache[np.newaxis]
        size = planes.shape[2]
        found += [plane[slot // size, slot % size].tobytes() for plane in planes]
    return found


def blank(engine: Engine) -> None:
    for cache in caches(engine):
        cache[...] = 0


SHAPES = [
    {},
    {"layers": 3, "heads": 2, "head_size": 8, "block_size": 8, "dtype": "float32"},
    {"mla": True, "head_size": 24},
    {"dtype": "bfloat16"},
    {"dtype": "uint8", "mla": True},
    {"dtype": "float64", "layers": 1},
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("location", [MEMORY, DISK])
def test_retrieve_brings_back_the_bytes_that_were_stored(
    make_engine: MakeEngine, shape: dict[str, Any], location: str
) -> None:
    engine = make_engine(shape=shape, retrieve_locations=[location])
    before = [slot_bytes(engine, slot) for slot in range(48)]
    assert engine.store(tokens=TOKENS, slot_mapping=list(range(40))) == 32
    blank(engine)
    loaded = engine.retrieve(tokens=TOKENS, slot_mapping=list(range(40)))
    assert loaded.tolist() == [True] * 32 + [False] * 8
    assert [slot_bytes(engine, slot) for slot in range(32)] == before[:32]
    assert not any(any(part) for slot in range(32, 48) for part in slot_bytes(engine, slot))


def test_slots_may_be_scattered_and_others_at_retrieve_than_at_store(make_engine: MakeEngine) -> None:
    engine = make_engine()
    stored_from, loaded_to = [500 - 3 * number for number in range(16)], list(range(700, 716))
    before = [slot_bytes(engine, slot) for slot in stored_from]
    engine.store(tokens=TOKENS[:16], slot_mapping=np.array(stored_from))
    engine.retrieve(tokens=TOKENS[:16], slot_mapping=np.array(loaded_to))
    assert [slot_bytes(engine, slot) for slot in loaded_to] == before


def test_kv_caches_of_the_caller_are_used_when_given(make_engine: MakeEngine) -> None:
    engine = make_engine()
    own = [np.full_like(cache, 3) for cache in caches(engine)]
    engine.store(tokens=TOKENS[:16], kvcaches=own)
    target = [np.zeros_like(cache) for cache in own]
    engine.retrieve(tokens=TOKENS[:16], kvcaches=target)
    assert all((cache[:, 0] == 3).all() and not cache[:, 1:].any() for cache in target)


def test_kv_caches_are_the_same_in_each_process_of_one_seed(make_engine: MakeEngine) -> None:
    first, second, third = make_engine(), make_engine(), make_engine(shape={"seed": 1})
    assert all((a == b).all() for a, b in zip(caches(first), caches(second), strict=True))
    assert not all((a == b).all() for a, b in zip(caches(first), caches(third), strict=True))


def test_a_thousand_tokens_work_with_the_default_shape(make_engine: MakeEngine) -> None:
    engine = make_engine(chunk_size=256)
    assert engine.store(tokens=list(range(1000)), slot_mapping=np.arange(1000)) == 768
    assert engine.retrieve(tokens=list(range(1000)), slot_mapping=np.arange(1000)).sum().item() == 768


def test_slots_beyond_the_kv_cache_wrap_round(make_engine: MakeEngine) -> None:
    engine = make_engine(shape={"blocks": 2})
    tokens = list(range(64))
    assert engine.store(tokens=tokens, slot_mapping=list(range(64))) == 64
    blank(engine)
    assert engine.retrieve(tokens=tokens[:16], slot_mapping=list(range(32, 48))).sum() == 16
    assert any(any(part) for part in slot_bytes(engine, 0))


@pytest.mark.parametrize(
    ("slots", "reason"),
    [([0, 1], "shape"), ([-1, *range(15)], "negative slot -1"), ([0.5] * 16, "whole numbers"), ([[0] * 16], "shape")],
)
def test_slots_that_do_not_fit_are_refused(make_engine: MakeEngine, slots: list[Any], reason: str) -> None:
    engine = make_engine()
    with pytest.raises(ValueError, match=reason):
        engine.store(tokens=TOKENS[:16], slot_mapping=slots)
    assert engine.lookup(TOKENS) == 0


def test_kv_caches_that_do_not_fit_are_refused(make_engine: MakeEngine) -> None:
    engine = make_engine()
    with pytest.raises(ValueError, match="1 KV caches given"):
        engine.store(tokens=TOKENS, kvcaches=caches(engine)[:1])
    with pytest.raises(ValueError, match="does not fit"):
        engine.store(tokens=TOKENS, kvcaches=[cache[..., :8] for cache in caches(engine)])
    with pytest.raises(ValueError, match="float32"):
        engine.retrieve(tokens=TOKENS, kvcaches=[cache.astype(np.float32) for cache in caches(engine)])


def test_no_tokens_are_no_error(make_engine: MakeEngine) -> None:
    engine = make_engine()
    assert engine.store(tokens=[]) == 0
    assert engine.retrieve(tokens=[]).sum().item() == 0


def test_a_partial_chunk_is_stored_when_the_configuration_says_so(make_engine: MakeEngine) -> None:
    engine = make_engine()
    engine.config.save_unfull_chunk = True
    assert engine.store(tokens=TOKENS) == 40
    assert engine.retrieve(tokens=TOKENS).sum().item() == 40


def test_lookup_is_the_longest_stored_prefix(make_engine: MakeEngine) -> None:
    engine = make_engine()
    engine.store(tokens=list(range(64)))
    assert engine.lookup(list(range(200))) == 64
    assert engine.lookup([*range(32), 999, *range(33, 64)]) == 32
    assert engine.lookup(list(range(1, 65))) == 0
    assert engine.lookup(np.arange(64)) == 64


def test_a_chunk_missing_in_the_middle_ends_the_prefix(make_engine: MakeEngine) -> None:
    engine = make_engine(local_cpu=False)
    engine.store(tokens=list(range(64)))
    assert engine.storage_manager is not None
    spans = list(engine._spans(range(64)))
    assert engine.storage_manager.remove(spans[1][2]) == 1
    assert engine.lookup(list(range(64))) == 16
    assert engine.retrieve(list(range(64))).tolist() == [True] * 16 + [False] * 48


def test_a_worker_does_not_find_the_chunks_of_another(make_engine: MakeEngine) -> None:
    make_engine(worker_id=0).store(tokens=TOKENS)
    assert make_engine(worker_id=1).lookup(TOKENS) == 0
    assert make_engine(worker_id=0).lookup(TOKENS) == 32


def test_a_later_engine_finds_what_is_on_disk_and_puts_it_into_memory(make_engine: MakeEngine) -> None:
    make_engine().store(tokens=TOKENS)
    later = make_engine()
    assert later.retrieve(tokens=TOKENS).sum().item() == 32
    assert later.storage_manager is not None
    assert later.storage_manager.stats()[MEMORY]["chunks"] == 2


def test_a_frozen_engine_stores_nothing_and_reads_memory_only(make_engine: MakeEngine) -> None:
    engine = make_engine()
    engine.store(tokens=TOKENS)
    engine.clear([MEMORY])
    engine.freeze(True)
    assert engine.is_frozen()
    assert engine.store(tokens=list(range(100, 140))) == 0
    assert engine.lookup(TOKENS) == 0
    assert engine.retrieve(tokens=TOKENS).sum().item() == 0
    engine.freeze(False)
    assert engine.lookup(list(range(100, 140))) == 0
    assert engine.retrieve(tokens=TOKENS).sum().item() == 32
    engine.freeze(True)
    assert engine.retrieve(tokens=TOKENS).sum().item() == 32


def test_the_hot_cache_can_be_switched_and_drops_its_content(make_engine: MakeEngine) -> None:
    engine = make_engine()
    engine.store(tokens=TOKENS)
    engine.set_hot_cache(False)
    assert not engine.is_hot_cache_enabled()
    assert engine.lookup(TOKENS, [MEMORY]) == 0
    assert engine.store(tokens=list(range(100, 116))) == 16
    engine.set_hot_cache(True)
    assert engine.is_hot_cache_enabled()
    assert engine.lookup(TOKENS, [MEMORY]) == 0


def test_without_any_backend_that_keeps_chunks_nothing_is_acknowledged(make_engine: MakeEngine) -> None:
    engine = make_engine(local_cpu=False, local_disk=None)
    assert engine.store(tokens=TOKENS) == 0


def test_chunks_that_the_disk_could_not_take_are_not_acknowledged(make_engine: MakeEngine, tmp_path: Path) -> None:
    engine = make_engine()
    (tmp_path / "chunks").rmdir()
    assert engine.store(tokens=TOKENS) == 0
    assert engine.lookup(TOKENS, [MEMORY]) == 32
    assert engine.lookup(TOKENS, [DISK]) == 0


def test_of_a_chain_larger_than_the_disk_the_beginning_is_kept(make_engine: MakeEngine) -> None:
    engine = make_engine(max_local_disk_size=100_000 / 1024**3)
    stored = engine.store(tokens=list(range(640)))
    assert 0 < stored < 640
    assert engine.lookup(list(range(640)), [DISK]) == stored


@pytest.mark.parametrize("location", [MEMORY, DISK])
def test_of_two_chains_the_older_one_loses_its_end_first(make_engine: MakeEngine, location: str) -> None:
    size = 90_000 / 1024**3  # ten chunks
    engine = make_engine(max_local_disk_size=size, max_local_cpu_size=size, store_location=location)
    older, newer = list(range(128)), list(range(1000, 1064))
    assert engine.store(tokens=older) == 128
    assert engine.store(tokens=newer) == 64
    assert engine.lookup(newer) == 64
    assert 0 < engine.lookup(older) < 128


@pytest.mark.parametrize("location", [MEMORY, DISK])
def test_a_chain_that_was_read_again_outlives_one_that_was_not(make_engine: MakeEngine, location: str) -> None:
    size = 90_000 / 1024**3  # ten chunks
    engine = make_engine(
        max_local_disk_size=size, max_local_cpu_size=size, store_location=location, retrieve_locations=[location]
    )
    engine.store(tokens=list(range(64)))
    engine.store(tokens=list(range(500, 564)))
    engine.retrieve(tokens=list(range(64)))
    engine.store(tokens=list(range(1000, 1064)))
    assert engine.lookup(list(range(64))) == 64
    assert engine.lookup(list(range(500, 564))) < 64


def test_store_location_and_retrieve_locations_choose_the_backends(make_engine: MakeEngine) -> None:
    engine = make_engine()
    engine.config.store_location = MEMORY
    assert engine.store(tokens=TOKENS) == 32
    assert engine.lookup(TOKENS, [DISK]) == 0
    engine.config.retrieve_locations = [DISK]
    assert engine.retrieve(tokens=TOKENS).sum().item() == 0


@pytest.mark.parametrize(
    ("locations", "removed", "left_in_memory", "left_on_disk"),
    [
        (None, 32, 0, 0),
        ([MEMORY], 32, 0, 32),
        ([DISK], 32, 32, 0),
        ([MEMORY, DISK], 32, 0, 0),
        (["Nope"], 0, 32, 32),
        ([""], 0, 32, 32),
        ([], 0, 32, 32),
    ],
)
def test_clear_empties_the_named_backends_and_counts_tokens(
    make_engine: MakeEngine,
    locations: list[str] | None,
    removed: int,
    left_in_memory: int,
    left_on_disk: int,
) -> None:
    engine = make_engine()
    engine.store(tokens=TOKENS)
    assert engine.clear(locations=locations, request_configs={"any": "thing"}) == removed
    assert engine.lookup(TOKENS, [MEMORY]) == left_in_memory
    assert engine.lookup(TOKENS, [DISK]) == left_on_disk


def test_the_slot_log_names_request_tokens_and_ranges(
    make_engine: MakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make_engine()
    engine.kvcache_check_log_enabled = True
    with caplog.at_level(logging.INFO):
        engine.store(tokens=TOKENS[:6], slot_mapping=[7, 1, 2, 3, 9, 10], req_id="a\nb")
    assert "[KVCache Check] store request 'a\\nb', tokens=6, slot_mapping: [7, [1, 3], 9, 10]" in caplog.messages


def test_a_closed_engine_says_so(make_engine: MakeEngine) -> None:
    engine = make_engine()
    engine.close()
    engine.close()
    assert not engine.is_healthy()
    assert not engine.is_hot_cache_enabled()
    with pytest.raises(RuntimeError, match="the engine is closed"):
        engine.store(tokens=TOKENS)
