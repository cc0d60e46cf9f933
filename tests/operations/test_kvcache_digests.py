"""Digests of KV cache slots, against a computation that takes slot by slot, and against digests that LMCache made."""

import hashlib
import threading
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from lmcache_admin.errors import Invalid
from lmcache_admin.jobs import Cancelled, Job
from lmcache_admin.operations.kvcache import Check, info
from lmcache_admin.slot_lists import SlotList

SLOTS = "0,5,[7,20],3,3,31,[16,18]"
DTYPES = ("float16", "float32", "float64", "uint8", "int8", "int32", "int64", "bool")
LAYOUTS = {"5-D": (2, 4, 8, 2, 4), "4-D": (4, 8, 2, 4), "3-D": (4, 8, 16), "2-D": (4, 8), "6-D": (4, 8, 2, 2, 2, 3)}


def made(shape, dtype, seed=0):
    numbers = np.random.default_rng(seed).random(shape) * 100
    return numbers.astype(dtype)


def host(caches, kv_dtype="torch.float16"):
    return SimpleNamespace(kv_caches=caches, lmcache_engine_metadata=SimpleNamespace(kv_dtype=kv_dtype))


def digests(manager, slots, chunk_size, layerwise):
    return Check.of(manager, SlotList.parse(slots), chunk_size, layerwise).run(Job.detached())["chunk_checksums"]


def md5(data):
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def expected(array, slots, chunk_size, widen=False):
    """Slot by slot, element by element: as plain as can be."""
    size = array.shape[2 if array.ndim == 5 else 1]
    found = []
    for first in range(0, len(slots), chunk_size):
        data = b""
        for half in array if array.ndim == 5 else [array]:
            for slot in slots[first : first + chunk_size]:
                row = half[slot // size, slot % size]
                data += (row.astype("<u4") << 16).tobytes() if widen else row.tobytes()
        found.append(md5(data))
    return found


def combined(digests_by_name):
    columns = zip(*(digests_by_name[name] for name in sorted(digests_by_name)), strict=True)
    return [md5("".join(column).encode()) for column in columns]


@pytest.mark.parametrize("chunk_size", [1, 5, 1000])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_digests_are_those_of_the_slots_in_the_order_asked(layout, dtype, chunk_size):
    caches = {f"model.layers.{n}": made(LAYOUTS[layout], dtype, n) for n in (2, 10, 0)}
    slots = list(SlotList.parse(SLOTS))
    wanted = {name: expected(array, slots, chunk_size) for name, array in caches.items()}
    found = digests(host(caches), SLOTS, chunk_size, True)
    assert found == wanted
    assert list(found) == list(caches)
    assert digests(host(caches), SLOTS, chunk_size, False) == combined(wanted)


def test_bfloat16_that_numpy_holds_as_uint16_is_digested_as_float32():
    caches = {"a": np.arange(1024, dtype=np.uint16).reshape(2, 4, 8, 16, 1) * 61, "b": made((4, 8, 16), "float32")}
    slots = list(SlotList.parse(SLOTS))
    wanted = {"a": expected(caches["a"], slots, 4, widen=True), "b": expected(caches["b"], slots, 4)}
    assert digests(host(caches, "torch.bfloat16"), SLOTS, 4, True) == wanted
    assert digests(host(caches, "torch.float16"), SLOTS, 4, True)["a"] == expected(caches["a"], slots, 4)


def strided(layout):
    """Views of the same content whose memory lies otherwise."""
    array = made(LAYOUTS[layout], "float16")
    yield np.asfortranarray(array)
    yield np.repeat(array, 2, axis=-1)[..., ::2]
    yield np.repeat(array, 2, axis=0)[::2]
    yield np.swapaxes(np.ascontiguousarray(np.swapaxes(array, -1, -2)), -1, -2)
    yield np.flip(np.ascontiguousarray(np.flip(array)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_views_are_digested_as_what_they_show(layout):
    wanted = expected(made(LAYOUTS[layout], "float16"), list(SlotList.parse(SLOTS)), 4)
    for view in strided(layout):
        assert not view.flags.c_contiguous
        assert digests(host({"a": view}), SLOTS, 4, True) == {"a": wanted}


def test_strided_bfloat16_is_digested_as_float32():
    array = np.arange(2048, dtype=np.uint16).reshape(2, 4, 8, 16, 2)[..., :1] * 31
    wanted = expected(array, list(SlotList.parse(SLOTS)), 4, widen=True)
    assert digests(host({"a": array}, "torch.bfloat16"), SLOTS, 4, True) == {"a": wanted}


def test_blocks_before_halves_are_read_as_lmcache_reads_them():
    """FlashInfer's [blocks, 2, ...]: LMCache makes [2, rest] of it, whatever the axes mean."""
    array = made((6, 2, 8, 2, 4), "float16")
    flat = array.reshape(2, 48, 2, 4)
    data = b"".join(flat[half, slot].tobytes() for half in (0, 1) for slot in (3, 15))
    assert digests(host({"a": array}), "3,15", 2, True) == {"a": [md5(data)]}
    turned = np.asfortranarray(array)
    assert digests(host({"a": turned}), "3,15", 2, True) == {"a": [md5(data)]}


def torch_rand(seed, shape):
    """What torch.rand gives for a seed: 24 bits of the Mersenne twister, scaled."""
    numbers = np.random.RandomState(seed).randint(0, 2**32, shape, dtype=np.uint32) & 0xFFFFFF
    return (numbers / 2**24).astype(np.float32)


def test_known_digests_of_lmcache_are_reproduced():
    bits = torch_rand(42, (2, 4, 8, 2, 4)).view(np.uint32)
    halves = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)  # rounded to bfloat16
    manager = host({"a": halves, "b": torch_rand(43, (4, 8, 16))}, "torch.bfloat16")
    of_layers = digests(manager, "0,5,[7,20]", 5, True)
    assert of_layers["a"][0] == "5721adf5d35e97653f8de5d0e81afa75"
    assert of_layers["b"][0] == "135a45348ff9f8b02c5107d959e2f602"
    assert digests(manager, "0,5,[7,20]", 5, False)[0] == "6290c298c64173708e2f67c045923dc7"


def test_pieces_make_the_same_digest_as_the_whole():
    caches = {"a": made((2, 128, 16, 8, 128), "float16"), "b": made((128, 16, 1024), "uint16")}
    flat = [caches["a"].reshape(2, 2048, -1), caches["b"].reshape(2048, -1)]
    for slots in ("[0,2047]", "[1000,2000],[0,999],7"):
        chosen = list(SlotList.parse(slots))
        wide = (flat[1][chosen].astype(np.uint32) << 16).tobytes()
        halves = flat[0][:, chosen].tobytes()
        found = digests(host(caches, "torch.bfloat16"), slots, 10_000, True)
        assert found["b"] == [md5(wide)]
        assert found["a"] == [md5(halves)]


@pytest.mark.parametrize("cores", [1, 2, 7])
def test_any_number_of_threads_gives_the_same_digests(monkeypatch, cores):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)), raising=False)  # the machine's cores
    caches = {f"l{n}": made((2, 64, 16, 8, 64), "float16", n) for n in range(5)}
    wanted = {name: expected(array, range(1024), 100) for name, array in caches.items()}
    assert digests(host(caches), "[0,1023]", 100, True) == wanted
    assert digests(host(caches), "[0,1023]", 100, False) == combined(wanted)


class Meeting(Job):
    """A job whose first pieces wait until so many threads have one in hand."""

    def __init__(self, threads):
        super().__init__("", "", "")
        self.names = set()
        self._together = threading.Barrier(threads, timeout=30)

    def advance(self, count=1):
        name = threading.current_thread().name
        if name not in self.names:
            self.names.add(name)
            self._together.wait()
        super().advance(count)


@pytest.mark.parametrize("layerwise", [True, False])
def test_every_core_works_at_the_same_time(monkeypatch, layerwise):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    caches = {f"l{n}": made((2, 64, 16, 8, 64), "float16", n) for n in range(5)}
    job = Meeting(3)
    Check.of(host(caches), SlotList.parse("[0,1023]"), 100, layerwise).run(job)
    own = threading.current_thread().name
    assert job.names == {own, "lmcache-admin-digest-0", "lmcache-admin-digest-1"}


def test_threads_that_the_system_does_not_give_are_done_without(monkeypatch):
    def start(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    monkeypatch.setattr(threading.Thread, "start", start)  # a full machine cannot be had in a test
    array = made((2, 64, 16, 8, 64), "float16")
    assert digests(host({"a": array}), "[0,1023]", 100, True) == {"a": expected(array, range(1024), 100)}


def test_layer_with_too_few_slots_is_an_error_alone():
    caches = {"a": made((2, 4, 8, 2, 4), "float16"), "b": made((2, 2, 8, 2, 4), "float16"), "c": made((4, 8), "int8")}
    job = Job.detached()
    manager = host(caches)
    answer = Check.of(manager, SlotList.parse("0,31"), 1, True).run(job)
    good = {name: expected(caches[name], [0, 31], 1) for name in "ac"}
    assert answer["chunk_checksums"] == {"a": good["a"], "b": ["error", "error"], "c": good["c"]}
    assert list(answer["chunk_checksums"]) == ["a", "b", "c"]
    assert answer["failed_layers"] == ["b"]
    assert [error["item"] for error in job.describe()["errors"]] == ["b"]
    assert digests(manager, "0,31", 1, False) == combined(good)


def test_what_is_no_array_is_an_error_alone():
    caches = {"a": made((4, 8, 2), "float32"), "b": object(), "c": np.array([[[object()] * 2] * 8] * 4, dtype=object)}
    found = digests(host(caches), "0,1", 1, True)
    assert (found["b"], found["c"]) == (["error", "error"], ["error", "error"])
    assert found["a"] == expected(caches["a"], [0, 1], 1)


def test_without_a_readable_layer_the_digest_is_that_of_nothing():
    caches = {"a": np.empty((4, 8, 0), np.float16)}
    assert digests(host(caches), "0,1", 1, False) == [md5(b"")] * 2


def test_without_slots_there_are_no_digests():
    caches = {"a": made((4, 8, 2), "float32"), "b": made((1, 1, 2), "float32")}
    assert digests(host(caches), ",,", 3, True) == {"a": [], "b": []}
    assert digests(host(caches), ",,", 3, False) == []


def test_progress_is_counted_in_bytes_of_the_cache():
    caches = {"a": np.zeros((2, 4, 8, 2, 4), np.uint16), "b": made((4, 8, 16), "float32")}
    job = Job.detached()
    Check.of(host(caches, "torch.bfloat16"), SlotList.parse("[0,9]"), 4, False).run(job)
    progress = job.describe()["progress"]
    assert (progress["done"], progress["of"], progress["unit"]) == (10 * (32 + 64), 10 * (32 + 64), "bytes")


class CancelledLater(Job):
    """A job whose end is asked for once so many bytes have been done."""

    def advance(self, count=1):
        if self._done > 20_000_000:
            self.cancel()
        super().advance(count)


def test_cancel_ends_every_thread_at_its_next_piece():
    caches = {f"l{n}": np.zeros((2, 512, 16, 8, 64), np.float16) for n in range(4)}
    job = CancelledLater("", "", "")
    with pytest.raises(Cancelled):
        Check.of(host(caches), SlotList.parse("[0,8191]"), 4096, True).run(job)
    assert job.describe()["progress"]["done"] < 30_000_000
    assert not [thread for thread in threading.enumerate() if "digest" in thread.name]


def test_a_million_digests_are_the_limit():
    caches = {f"l{n}": np.zeros((100_000, 1, 1), np.uint8) for n in range(11)}
    with pytest.raises(Invalid, match="1100000 digests, at most 1000000 allowed"):
        digests(host(caches), "[0,99999]", 1, True)
    assert Check.of(host(caches), SlotList.parse("[0,99999]"), 1, False).chunk_size == 1
    assert Check.of(host(caches), SlotList.parse("[0,99999]"), 2, True).chunk_size == 2


def test_memory_of_a_check_is_bounded():
    """Peak of what NumPy and Python allocate, whatever the size: threads work in pieces."""
    caches = {f"l{n}": np.zeros((2, 1024, 16, 8, 64), np.uint16) for n in range(4)}  # 128 MiB
    caches["view"] = np.zeros((2, 1024, 8, 16, 64), np.uint16).swapaxes(2, 3)
    manager = host(caches, "torch.bfloat16")
    scattered = ",".join(str(slot) for slot in range(16383, 0, -2))
    tracemalloc.start()
    try:
        for slots in ("[0,16383]", scattered):
            digests(manager, slots, 100_000, True)
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("dtype", "kv_dtype", "shown"),
    [
        ("float16", "torch.float16", "torch.float16"),
        ("uint16", "torch.bfloat16", "torch.bfloat16"),
        ("uint16", "torch.float16", "torch.uint16"),
        ("float32", "torch.bfloat16", "torch.float32"),
        ("int8", "torch.int8", "torch.int8"),
    ],
)
def test_arrays_are_described_in_the_words_of_tensors(dtype, kv_dtype, shown):
    layer = info(host({"a": made((4, 8, 16), dtype)}, kv_dtype))["layers"]["a"]
    assert layer == {"shape": [4, 8, 16], "dtype": shown, "device": "cpu"}
