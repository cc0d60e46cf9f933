"""What every backend keeps to, run against memory (each policy) and disk."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lmcache_admin.engine.backends.disk import HEADER_ROOM, LocalDiskBackend
from lmcache_admin.engine.backends.memory import LocalCPUBackend
from lmcache_admin.engine.backends.protocol import Backend
from lmcache_admin.engine.chunks import Chunk, ChunkKey, Layout
from lmcache_admin.engine.probe import probe

LAYOUT = Layout(2, 2, 8, "half")
SIZE = LAYOUT.nbytes(16)


def key(number: int, model: str = "org/model") -> ChunkKey:
    return ChunkKey(model, 1, 0, number, "half")


def chunk(number: int, tokens: int = 16) -> Chunk:
    return Chunk(LAYOUT, tokens, number.to_bytes(2, "big") * (LAYOUT.nbytes(tokens) // 2))


class BackendContract:
    """Inherited by the test class of each backend."""

    def make(self, folder: Path, chunks: int) -> Backend:
        """A backend with room for so many chunks of 16 tokens."""
        raise NotImplementedError

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return self.make(tmp_path, 8)

    def test_what_was_put_is_got_byte_for_byte(self, backend: Backend) -> None:
        assert backend.put(key(1), chunk(1))
        found = backend.get(key(1))
        assert found is not None
        assert (found.layout, found.tokens, bytes(found.payload)) == (LAYOUT, 16, bytes(chunk(1).payload))

    def test_what_was_never_put_is_a_miss(self, backend: Backend) -> None:
        assert backend.get(key(1)) is None
        assert not backend.contains(key(1))
        assert not backend.confirm(key(1))
        assert backend.stats()["misses"] == 1

    def test_contains_and_confirm_find_what_was_put(self, backend: Backend) -> None:
        backend.put(key(1), chunk(1))
        assert backend.contains(key(1))
        assert backend.confirm(key(1))

    @pytest.mark.parametrize("number", [-1, -(2**63), 2**63 - 1, 0])
    def test_any_hash_can_be_a_key(self, backend: Backend, number: int) -> None:
        assert backend.put(key(number), chunk(1))
        assert backend.contains(key(number))

    @pytest.mark.parametrize("model", ["a/b", "../../etc", "m" * 4000, "a\0b", "-SEP-", "名", "\ud800"])
    def test_any_model_name_can_be_in_a_key(self, backend: Backend, model: str) -> None:
        assert backend.put(key(1, model), chunk(1))
        assert backend.contains(key(1, model))
        assert backend.get(key(1, model)) is not None

    def test_keys_that_differ_in_one_part_are_different_chunks(self, backend: Backend) -> None:
        backend.put(key(1), chunk(1))
        others = [key(2), key(1, "other"), key(1)._replace(world_size=2), key(1)._replace(worker_id=1)]
        others += [key(1)._replace(dtype="float"), key(1)._replace(tags=(("a", "b"),))]
        assert not any(backend.contains(other) for other in others)

    def test_a_removed_chunk_is_gone_and_its_removal_is_told_once(self, backend: Backend) -> None:
        backend.put(key(1), chunk(1))
        assert backend.remove(key(1))
        assert not backend.remove(key(1))
        assert not backend.contains(key(1))

    def test_clear_drops_all_and_tells_the_tokens(self, backend: Backend) -> None:
        backend.put(key(1), chunk(1))
        backend.put(key(2), chunk(2, tokens=5))
        assert sorted(backend.clear().values()) == [5, 16]
        assert backend.clear() == {}
        assert (backend.stats()["chunks"], backend.stats()["bytes"]) == (0, 0)

    def test_a_second_put_of_a_key_does_not_count_twice(self, backend: Backend) -> None:
        for _ in range(3):
            backend.put(key(1), chunk(1))
        assert backend.stats()["chunks"] == 1
        assert backend.stats()["bytes"] < 2 * SIZE

    def test_the_budget_holds_and_evictions_are_counted(self, tmp_path: Path) -> None:
        backend = self.make(tmp_path, 3)
        kept = [backend.put(key(number), chunk(number)) for number in range(10)]
        assert kept == [True] * 10
        stats = backend.stats()
        assert stats["bytes"] <= stats["capacity"]
        assert stats["chunks"] == sum(backend.contains(key(number)) for number in range(10))
        assert 1 <= stats["chunks"] <= 3
        assert stats["chunks"] + stats["evictions"] == 10

    def test_a_chunk_larger_than_the_budget_is_refused_and_evicts_nothing(self, backend: Backend) -> None:
        backend.put(key(1), chunk(1))
        assert not backend.put(key(2), chunk(2, tokens=16 * 100))
        assert backend.contains(key(1))
        assert backend.stats()["put_failures"] == 1

    def test_room_says_how_many_chunks_fit(self, tmp_path: Path) -> None:
        backend = self.make(tmp_path, 5)
        assert backend.room(SIZE) == 5
        for number in range(5):
            backend.put(key(number), chunk(number))
        assert all(backend.contains(key(number)) for number in range(5))

    def test_a_probe_counts_nothing_and_evicts_nothing_of_a_full_backend(self, tmp_path: Path) -> None:
        backend = self.make(tmp_path, 2)
        backend.put(key(1), chunk(1))
        backend.put(key(2), chunk(2))
        before = backend.stats()
        result = probe("name", backend, LAYOUT)
        assert (result.status, list(result.durations_ms)) == ("ok", ["store", "lookup", "retrieve", "remove"])
        assert backend.stats() == before

    def test_a_closed_backend_takes_and_gives_nothing(self, backend: Backend) -> None:
        backend.put(key(1), chunk(1))
        backend.close()
        assert not backend.put(key(2), chunk(2))
        assert backend.get(key(1)) is None
        assert not backend.contains(key(1))

    def test_a_closed_backend_fails_its_probe(self, backend: Backend) -> None:
        backend.close()
        assert probe("name", backend, LAYOUT).status == "failed"

    def test_many_threads_never_get_a_wrong_byte(self, tmp_path: Path) -> None:
        backend = self.make(tmp_path, 4)
        wrong: list[str] = []

        def work(seed: int) -> None:
            for step in range(60):
                number = (seed * 7 + step * 5) % 9
                backend.put(key(number), chunk(number))
                found = backend.get(key(number))
                if found is not None and bytes(found.payload) != bytes(chunk(number).payload):
                    wrong.append(f"chunk {number}")
                if step % 20 == seed:
                    backend.clear()

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        backend.clear()
        assert (backend.stats()["chunks"], backend.stats()["bytes"]) == (0, 0)


class TestMemoryLRU(BackendContract):
    policy = "LRU"

    def make(self, folder: Path, chunks: int) -> Backend:
        return LocalCPUBackend(chunks * SIZE, self.policy)


class TestMemoryLFU(TestMemoryLRU):
    policy = "LFU"


class TestMemoryFIFO(TestMemoryLRU):
    policy = "fifo"


class TestMemoryMRU(TestMemoryLRU):
    policy = "MRU"


class TestDisk(BackendContract):
    def make(self, folder: Path, chunks: int) -> Backend:
        return LocalDiskBackend([folder / "one", folder / "two"], chunks * (SIZE + HEADER_ROOM))
