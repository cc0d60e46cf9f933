"""MD5 digests of the slots of KV caches, on all cores, in a few megabytes of memory."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from typing import TypeVar

from lmcache_admin.jobs import Job
from lmcache_admin.operations.kvcache_rows import PIECE, Numbers, Rows, Scratch

T = TypeVar("T")
#: Most threads; each has up to three pieces of memory.
MAX_THREADS = 16
#: Bytes for a digest below which the interpreter is the limit, not the hash: further threads would only keep the
#: host's own from running, so that one does it, and rests so many seconds after each so many digests.
SMALL, RESTED, REST = 16 * 1024, 64, 0.0005


def layer_digests(layers: Sequence[Rows], chunks: Sequence[Numbers], job: Job) -> list[list[str]]:
    """Return for each layer the digest of each chunk of slots.

    Args:
        layers: The layers.
        chunks: The slots of each chunk; every layer has all of them.
        job: Gets the progress in bytes.
    """
    found = [[""] * len(chunks) for _ in layers]

    def keep(chunk: int, layer: int, digest: str) -> None:
        found[layer][chunk] = digest

    _compute(layers, chunks, job, keep)
    return found


def combined_digests(layers: Sequence[Rows], chunks: Sequence[Numbers], job: Job) -> list[str]:
    """Return for each chunk the digest of its layers' digests, as text in the order of `layers`."""
    found = [_md5().hexdigest()] * len(chunks)
    waiting: defaultdict[int, dict[int, str]] = defaultdict(dict)
    lock = threading.Lock()

    def keep(chunk: int, layer: int, digest: str) -> None:
        with lock:
            of_chunk = waiting[chunk]
            of_chunk[layer] = digest
            if len(of_chunk) < len(layers):
                return
            del waiting[chunk]
        text = "".join(of_chunk[number] for number in range(len(layers)))
        found[chunk] = _md5(text.encode("ascii")).hexdigest()

    _compute(layers, chunks, job, keep)
    return found


def _compute(
    layers: Sequence[Rows], chunks: Sequence[Numbers], job: Job, keep: Callable[[int, int, str], None]
) -> None:
    size = sum(layer.slot_bytes for layer in layers) * sum(map(len, chunks))
    job.begin(size, "bytes")

    count = len(layers) * len(chunks)
    small = size < SMALL * count

    def work(places: Iterator[tuple[int, int]]) -> None:
        scratch = Scratch()
        for number, (chunk, layer) in enumerate(places):
            keep(chunk, layer, _digest(layers[layer], chunks[chunk], scratch, job))
            if small and number % RESTED == 0:
                time.sleep(REST)

    threads = 1 if small else min(_cores(), MAX_THREADS, count, size // PIECE)
    _share(product(range(len(chunks)), range(len(layers))), work, threads)


def _digest(rows: Rows, slots: Numbers, scratch: Scratch, job: Job) -> str:
    digest = _md5()
    for size, piece in rows.pieces(slots, scratch):
        digest.update(piece.data)
        job.advance(size)
    return digest.hexdigest()


def _md5(data: bytes = b"") -> hashlib._Hash:
    return hashlib.md5(data, usedforsecurity=False)


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Shared(Iterator[T]):
    """Items for several threads, each to one of them; none are left once something failed."""

    def __init__(self, items: Iterable[T]) -> None:
        self._items = iter(items)
        self._lock = threading.Lock()
        self.failure: BaseException | None = None

    def __next__(self) -> T:
        with self._lock:
            if self.failure is not None:
                raise StopIteration
            return next(self._items)

    def fail(self, error: BaseException) -> None:
        with self._lock:
            self.failure = self.failure or error


def _share(items: Iterable[T], work: Callable[[Iterator[T]], None], threads: int) -> None:
    """Give the items out to `work` in this thread and `threads` - 1 more; raise what the first to fail has raised."""
    shared = _Shared(items)

    def run() -> None:
        try:
            work(shared)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            shared.fail(error)

    helpers = _started(run, threads - 1)
    run()
    for helper in helpers:
        helper.join()
    if shared.failure is not None:
        raise shared.failure


def _started(run: Callable[[], None], count: int) -> list[threading.Thread]:
    """Start threads; if the system has no more, fewer of them share the work."""
    started: list[threading.Thread] = []
    for number in range(count):
        thread = threading.Thread(target=run, name=f"lmcache-admin-digest-{number}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            break
        started.append(thread)
    return started
