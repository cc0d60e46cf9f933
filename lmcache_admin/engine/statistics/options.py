"""What the configuration says about chunk statistics: LMCache's keys and defaults, checked before anything is made."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmcache_admin.engine.errors import ConfigurationError
from lmcache_admin.engine.statistics.bloom import optimal_bits

if TYPE_CHECKING:
    from lmcache_admin.engine.configuration import Configuration

BLOOM = "memory_bloom_filter"
FILES = "file_hash"
STRATEGIES = (BLOOM, FILES)
MOST_FILTER_BYTES = 2**30
PREFIX = "chunk_statistics_"

Check = tuple[object, type | tuple[type, ...], Callable[[Any], bool], str]


def _from_to(least: int, most: int, default: int, what: str) -> Check:
    return default, int, lambda value: least <= value <= most, f"{what} from {least} to {most}"


# Keys under extra_config, without their prefix: default, type, what holds for it, and that in words.
_EXTRA: dict[str, Check] = {
    "mem_bf_expected_chunks": _from_to(1, 10**10, 20_000_000, "a whole number"),
    "mem_bf_false_positive_rate": (0.01, (int, float), lambda rate: 0 < rate < 1, "a number between 0 and 1"),
    "file_rotation_size": _from_to(4096, 2**40, 100 * 2**20, "bytes"),
    "file_max_count": _from_to(1, 100_000, 100, "a whole number"),
    "file_output_dir": ("./chunk_hashes", str, lambda path: path and "\0" not in path, "the path of a folder"),
    "async_queue_capacity": _from_to(1, 10_000_000, 100_000, "a whole number"),
}


@dataclass(frozen=True)
class StatisticsOptions:
    """How chunk statistics are kept.

    Args:
        strategy: `memory_bloom_filter` or `file_hash`.
        auto_start: Whether counting begins with the client.
        timeout: Seconds after which it ends by itself; 0 for never.
        target: Unique chunks at which it ends by itself; 0 for never.
        expected: Unique chunks that the Bloom filter is made for.
        rate: Its rate of false positives.
        rotation_size: Bytes of a hash file after which the next one is begun.
        max_files: Hash files that are kept.
        folder: Where.
        capacity: Lookups that may wait to be counted.
        chunk_size: Tokens per chunk.
    """

    strategy: str
    auto_start: bool
    timeout: float
    target: int
    expected: int
    rate: float
    rotation_size: int
    max_files: int
    folder: str
    capacity: int
    chunk_size: int

    @classmethod
    def of(cls, config: Configuration, chunk_size: int) -> StatisticsOptions:
        """Read them.

        Raises:
            ConfigurationError: A value that cannot be used, or a filter that would be absurdly large.
        """
        extra = {name: _extra(config, name) for name in _EXTRA}
        if optimal_bits(extra["mem_bf_expected_chunks"], extra["mem_bf_false_positive_rate"]) > MOST_FILTER_BYTES * 8:
            raise ConfigurationError(
                f"extra_config.{PREFIX}mem_bf_expected_chunks",
                extra["mem_bf_expected_chunks"],
                f"so many that the filter takes {MOST_FILTER_BYTES} bytes at most",
            )
        hours = _checked(config, "auto_exit_timeout_hours", lambda hours: 0 <= hours <= 1e6, "hours from 0 to 1000000")
        return cls(
            strategy=_checked(config, "strategy", lambda name: name in STRATEGIES, f"one of {', '.join(STRATEGIES)}"),
            auto_start=bool(config.chunk_statistics_auto_start_statistics),
            timeout=hours * 3600,
            target=_checked(config, "auto_exit_target_unique_chunks", lambda count: count >= 0, "a number from 0"),
            expected=extra["mem_bf_expected_chunks"],
            rate=extra["mem_bf_false_positive_rate"],
            rotation_size=extra["file_rotation_size"],
            max_files=extra["file_max_count"],
            folder=os.path.abspath(os.path.expanduser(extra["file_output_dir"])),
            capacity=extra["async_queue_capacity"],
            chunk_size=chunk_size,
        )


def _checked(config: Configuration, name: str, holds: Callable[[Any], bool], allowed: str) -> Any:
    """A key at the top level, which may have been set to anything since the start; null stands for the default."""
    key = f"{PREFIX}{name}"
    value = getattr(config, key)
    if value is None:
        value = config._config_definitions[key]["default"]
    if not holds(value):
        raise ConfigurationError(key, value, allowed)
    return value


def _extra(config: Configuration, name: str) -> Any:
    default, kind, holds, allowed = _EXTRA[name]
    value = config.get_extra_config_value(f"{PREFIX}{name}", default)
    if isinstance(value, bool) or not isinstance(value, kind) or not holds(value):
        raise ConfigurationError(f"extra_config.{PREFIX}{name}", value, allowed)
    return value
