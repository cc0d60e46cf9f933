"""The two ways of keeping what was looked up: in a Bloom filter, or in hash files with such a filter beside them."""

from __future__ import annotations

import logging
import time
from array import array
from typing import Any, Protocol

import numpy as np

from lmcache_admin.engine.statistics.bloom import BloomFilter
from lmcache_admin.engine.statistics.hash_files import HashFiles
from lmcache_admin.engine.statistics.options import BLOOM, StatisticsOptions

logger = logging.getLogger(__name__)

LONGEST_ID = 200  # characters of a lookup's id that a file keeps
MASK = 2**64 - 1


class Recording(Protocol):
    """Keeps hashes and tells new ones from those seen before; called from one thread at a time.

    Hashes come as signed 64-bit numbers, never none of them.
    """

    def open(self) -> None:
        """Begin; OSError when that is not possible."""

    def record(self, hashes: array[int], lookup_id: str) -> int:
        """Keep the chunk hashes of one lookup; how many of them are new."""

    def describe(self) -> dict[str, Any]:
        """Figures of its own, under its own name."""

    def reset(self) -> None:
        """Forget what was seen."""

    def close(self) -> None:
        """Give memory and files back."""


class BloomRecording:
    """Counts in memory. A chunk that was not seen counts as seen at the filter's rate, never the other way round."""

    def __init__(self, options: StatisticsOptions) -> None:
        self._bloom = BloomFilter(options.expected, options.rate)
        self._said = False

    def open(self) -> None:
        """Nothing to do: memory is taken at the first lookup."""

    def record(self, hashes: array[int], lookup_id: str) -> int:
        """Add the hashes."""
        new = self._bloom.add(np.frombuffer(hashes, np.uint64))
        if self._bloom.item_count > self._bloom.expected and not self._said:
            self._said = True
            logger.warning(
                "More than the expected %d unique chunks: from now on more new ones count as seen; "
                "reset the statistics, or set chunk_statistics_mem_bf_expected_chunks higher",
                self._bloom.expected,
            )
        return new

    def describe(self) -> dict[str, Any]:
        """Size and filling of the filter."""
        bloom = self._bloom
        return {
            "bloom_filter": {
                "size_mb": bloom.nbytes / 2**20,
                "hash_count": bloom.hash_count,
                "item_count": bloom.item_count,
                "bits_set": bloom.bits_set,
                "fill_rate": bloom.fill_rate,
                "expected_elements": bloom.expected,
                "false_positive_rate": bloom.rate,
            }
        }

    def reset(self) -> None:
        """Empty the filter."""
        self._bloom.clear()
        self._said = False

    def close(self) -> None:
        """Empty the filter: its memory goes back."""
        self._bloom.clear()


class FileRecording:
    """Writes the hashes of each lookup to files, and counts with a Bloom filter.

    LMCache's strategy of this name compares a chunk with nothing, so that each is unique; here reuse is counted.
    """

    def __init__(self, options: StatisticsOptions) -> None:
        self._counting = BloomRecording(options)
        facts = {"chunk_size": options.chunk_size, "hash": "builtin"}
        self._files = HashFiles(options.folder, options.rotation_size, options.max_files, facts)

    def open(self) -> None:
        """Make the folder."""
        self._files.open()

    def record(self, hashes: array[int], lookup_id: str) -> int:
        """Write a line and count."""
        shown = [hex(chained & MASK) for chained in hashes]
        self._files.append({"timestamp": time.time(), "lookup_id": str(lookup_id)[:LONGEST_ID], "chunk_hashes": shown})
        return self._counting.record(hashes, lookup_id)

    def describe(self) -> dict[str, Any]:
        """The files in the folder."""
        files = self._files
        return {
            "file_hash": {
                "file_count": files.count,
                "current_file_size": files.current_size,
                "file_max_count": files.max_files,
                "output_dir": files.folder,
            }
        }

    def reset(self) -> None:
        """End the current file and forget what was seen; what is written stays."""
        self._files.close()
        self._counting.reset()

    def close(self) -> None:
        """End the current file."""
        self._files.close()
        self._counting.close()


def recording(options: StatisticsOptions) -> Recording:
    """The one that the options name; takes neither memory nor disk yet."""
    return BloomRecording(options) if options.strategy == BLOOM else FileRecording(options)
