"""KV caches as torch tensors for `served.py`, which the interpreter of either server can make."""

from __future__ import annotations

from typing import Any

LAYERS, BLOCK, HEADS, HEAD_SIZE = 32, 16, 8, 128


def slots_of(mebibytes: int) -> int:
    """How many slots the layers have when all of them together have that size in 16-bit numbers."""
    return mebibytes * 1024 * 1024 // (LAYERS * 2 * HEADS * HEAD_SIZE * 2)


def kv_caches(given: str) -> dict[str, Any]:
    """Make layers of `dtype,mebibytes` whose content is the same in every process."""
    import torch

    dtype, mebibytes = given.split(",")
    shape = (2, slots_of(int(mebibytes)) // BLOCK, BLOCK, HEADS, HEAD_SIZE)
    torch.manual_seed(42)
    return {f"model.layers.{n}": torch.rand(shape, dtype=getattr(torch, dtype)) for n in range(LAYERS)}
