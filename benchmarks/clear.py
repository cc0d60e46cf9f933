"""Row `clear`: how long any other call waits while the embedded engine clears very many chunks."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bench import arguments, finish, table

from engine import engine_with
from lmcache_admin.engine import Engine

CHUNK_TOKENS = 16
SHAPE = {"layers": 2, "blocks": 16, "block_size": 16, "heads": 1, "head_size": 8}  # 1 KiB per chunk
PAUSE = 0.001  # seconds between two calls; without one the callers themselves would be what they wait for
Row = list[object]


class Callers:
    """A thread for each kind of call, each with a call about every millisecond; how long the longest took."""

    def __init__(self, engine: Engine, names: tuple[str, ...]) -> None:
        self.longest = dict.fromkeys(names, 0.0)
        self.count = 0
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(name, getattr(engine, name))) for name in names]

    def beside(self, act: Callable[[], object]) -> float:
        """Seconds that something takes while they call."""
        for thread in self._threads:
            thread.start()
        began = time.perf_counter()
        act()
        seconds = time.perf_counter() - began
        self._done.set()
        for thread in self._threads:
            thread.join()
        return seconds

    def _call(self, name: str, act: Callable[[list[int]], object]) -> None:
        while not self._done.is_set():
            self.count += 1
            tokens = [2**40 + self.count] * CHUNK_TOKENS  # chunks that were never there
            began = time.perf_counter()
            act(tokens)
            self.longest[name] = max(self.longest[name], time.perf_counter() - began)
            time.sleep(PAUSE)


def row(what: str, chunks: int, seconds: float, callers: Callers) -> Row:
    return [what, chunks, seconds, callers.count, *(1000 * longest for longest in callers.longest.values())]


def measured(what: str, engine: Engine, chunks: int, names: tuple[str, ...]) -> list[Row]:
    """A clear beside the calls, then nothing beside them for as long."""
    tokens = engine.store(tokens=list(range(chunks * CHUNK_TOKENS)))
    if tokens != chunks * CHUNK_TOKENS:
        raise SystemExit(f"stored {tokens} tokens of {chunks} chunks")
    during, idle = Callers(engine, names), Callers(engine, names)
    seconds = during.beside(engine.clear)
    idle.beside(lambda: time.sleep(seconds))
    engine.close()
    return [row(f"clear of {what}", chunks, seconds, during), row(f"nothing, {what}", 0, seconds, idle)]


def main() -> None:
    options = arguments(__doc__, chunks=100_000, disk=5_000, folder="")
    calls = ("store", "lookup", "retrieve")
    rows = measured("memory", engine_with(SHAPE, CHUNK_TOKENS), options.chunks, calls)
    with tempfile.TemporaryDirectory(dir=options.folder or None) as folder:
        place = str(Path(folder) / "chunks")
        disk = engine_with(SHAPE, CHUNK_TOKENS, local_cpu=False, local_disk=place, max_local_disk_size=4.0)
        rows += measured("disk", disk, options.disk, calls)
    head = ["beside", "chunks", "seconds", "calls", *(f"longest {name} ms" for name in calls)]
    finish(options, "clear", rows, table(head, rows))


if __name__ == "__main__":
    main()
