"""A synchronous engine, one thread and no event loop, that embeds the admin service and offers a part of the surface.

`python examples/toy_engine.py` answers prompts from standard input; docs/embedding.md goes through it step by step.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import Any

import numpy as np

from lmcache_admin import InternalAPIServer

BLOCKS, BLOCK_SIZE, WIDTH = 8, 16, 4


@dataclass
class Options:
    """The engine's own configuration; the service finds its settings among it."""

    capacity: int = 100
    internal_api_server_enabled: bool = True
    internal_api_server_port_start: int = 7400

    @property
    def _config_definitions(self) -> Mapping[str, Mapping[str, Any]]:
        """What /conf shows and sets: key -> type, default, and what turns a JSON value into one."""
        return {f.name: {"type": type(f.default), "default": f.default, "env_converter": int} for f in fields(self)}


class ToyEngine:
    """Keeps the KV of words in slots; the word that was used longest ago goes first."""

    def __init__(self, config: Options) -> None:
        self.config = config
        self.kv_caches = {f"layer.{n}": np.zeros((BLOCKS, BLOCK_SIZE, WIDTH), np.float32) for n in range(2)}
        self._slots: OrderedDict[str, int] = OrderedDict()
        self._free = list(range(BLOCKS * BLOCK_SIZE))
        self._frozen = False
        self._lock = threading.Lock()  # the service calls from its own threads

    def answer(self, prompt: str) -> str:
        """Do the engine's work for one prompt."""
        words = prompt.split()
        with self._lock:
            hits = [self._use(word) for word in words]
        return f"{len(words)} words, {sum(hits)} of them from the cache"

    def _use(self, word: str) -> bool:
        if word in self._slots:
            self._slots.move_to_end(word)
            return True
        if not self._frozen:
            while not self._free or len(self._slots) >= max(1, self.config.capacity):
                self._free.insert(0, self._slots.popitem(last=False)[1])
            self._slots[word] = slot = self._free.pop(0)
            for layer in self.kv_caches.values():
                layer[divmod(slot, BLOCK_SIZE)] = len(word)
        return False

    def freeze(self, enabled: bool) -> None:
        """Take nothing new in; PUT /freeze/enable and /freeze/disable call this."""
        with self._lock:
            self._frozen = enabled

    def is_frozen(self) -> bool:
        """Tell whether nothing new is taken in; GET /freeze/status."""
        return self._frozen

    def clear(self, *, locations: Iterable[str] | None, request_configs: Mapping[str, Any] | None) -> int:
        """Forget everything and tell how many words that were; DELETE /cache/clear."""
        with self._lock:
            words = len(self._slots) if locations is None or "memory" in locations else 0
            self._free.extend(self._slots.popitem(last=False)[1] for _ in range(words))
        return words


def main() -> None:
    """Serve prompts until standard input ends."""
    engine = ToyEngine(Options())
    host = SimpleNamespace(lmcache_engine=engine, config=engine.config, kv_caches=engine.kv_caches)
    server = InternalAPIServer(host)
    server.start()
    print(f"admin service: {server.error or server.server_log_info}", flush=True)
    try:
        for prompt in sys.stdin:
            print(engine.answer(prompt), flush=True)
    finally:
        server.stop()


if __name__ == "__main__":
    main()
