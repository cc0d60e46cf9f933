"""Shape of the embedded engine's KV caches, read from keys of ours under extra_config."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any, Protocol

from lmcache_admin.engine.chunks import PROBE_MODEL, Layout
from lmcache_admin.engine.errors import ConfigurationError

PREFIX = "embedded_engine_"
OTHERS = ("embedded_engine_lookup_folder",)  # keys of ours that say nothing about the KV caches
DTYPES = {
    "float16": "half",
    "bfloat16": "bfloat16",
    "float32": "float",
    "float64": "double",
    "uint8": "uint8",
    "int8": "int8",
}


class _HasExtra(Protocol):
    extra_config: dict[str, Any] | None


@dataclass(frozen=True)
class CacheShape:
    """What the KV caches look like; each field is the key `embedded_engine_<field>` under `extra_config`.

    Args:
        layers: Number of layers, one array each.
        blocks: Blocks per layer.
        block_size: Slots (tokens) per block.
        heads: KV heads; unused when `mla`.
        head_size: Elements per head, or MLA's latent width.
        dtype: Element type: float16, bfloat16, float32, float64, uint8, int8. NumPy has no bfloat16: such a
            cache is held as uint16 with the same bits, and the metadata's `kv_dtype` tells the two apart.
        mla: Layers are `[blocks, block_size, head_size]`, else `[2, blocks, block_size, heads, head_size]`.
        seed: Seed of the caches' first content.
        model_name: First part of each chunk's key.
        world_size: Number of workers, second part of each key.
    """

    layers: int = 2
    blocks: int = 64
    block_size: int = 16
    heads: int = 4
    head_size: int = 16
    dtype: str = "float16"
    mla: bool = False
    seed: int = 42
    model_name: str = "embedded_model"
    world_size: int = 1

    @classmethod
    def from_configuration(cls, configuration: _HasExtra) -> CacheShape:
        """Read the shape from a configuration's `extra_config`.

        Raises:
            ConfigurationError: An unknown key with our prefix, or a value that cannot be.
        """
        extra = configuration.extra_config or {}
        given = {key: value for key, value in extra.items() if _is_shape(key)}
        for key, value in given.items():
            _check(key, value)
        return cls(**{key.removeprefix(PREFIX): value for key, value in given.items()})

    @property
    def layout(self) -> Layout:
        """How the bytes of one chunk lie."""
        if self.mla:
            return Layout(1, self.layers, self.head_size, DTYPES[self.dtype])
        return Layout(2, self.layers, self.heads * self.head_size, DTYPES[self.dtype])

    @property
    def array_shape(self) -> tuple[int, ...]:
        """Shape of one layer's array."""
        if self.mla:
            return (self.blocks, self.block_size, self.head_size)
        return (2, self.blocks, self.block_size, self.heads, self.head_size)

    @property
    def nbytes(self) -> int:
        """Bytes of all layers together."""
        return self.layout.nbytes(self.blocks * self.block_size)


LARGEST = 2**20  # of each number: a slip of the keyboard should not ask for all memory


def _is_shape(key: object) -> bool:
    return str(key).startswith(PREFIX) and key not in OTHERS


def _check(key: str, value: object) -> None:
    field = key.removeprefix(PREFIX)
    kinds: dict[str, type] = {name: type(default) for name, default in vars(CacheShape()).items()}
    if field not in kinds:
        near = difflib.get_close_matches(field, kinds, n=1, cutoff=0)
        raise ConfigurationError(f"extra_config.{key}", value, f"keys like {PREFIX}{near[0]}")
    if type(value) is not kinds[field]:
        raise ConfigurationError(f"extra_config.{key}", value, f"a value of type {kinds[field].__name__}")
    least = 0 if field == "seed" else 1
    if isinstance(value, int) and kinds[field] is int and not least <= value <= LARGEST:
        raise ConfigurationError(f"extra_config.{key}", value, f"a whole number from {least} to {LARGEST}")
    if field == "dtype" and value not in DTYPES:
        raise ConfigurationError(f"extra_config.{key}", value, f"one of {', '.join(DTYPES)}")
    if field == "model_name" and (value in ("", PROBE_MODEL) or "@" in str(value)):
        raise ConfigurationError(f"extra_config.{key}", value, f"a name without @, other than {PROBE_MODEL}")
