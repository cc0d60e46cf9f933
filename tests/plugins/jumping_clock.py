"""A clock that a test can set: processes that see another time of day, by libfaketime; the monotonic one goes on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


class Clock:
    """The time of day of the processes that are started with `environment`.

    Args:
        folder: Where the file lies by which it is set.
        library: libfaketime's, for programs of several threads.
    """

    def __init__(self, folder: Path, library: Path) -> None:
        self._file = folder / "clock"
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
        self.jump(0)

    def jump(self, seconds: int) -> None:
        """Have it show so many seconds more than the real one; takes effect at once."""
        written = self._file.with_name("clock.new")
        written.write_text(f"{seconds:+d}\n")
        os.replace(written, self._file)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    """A clock that the test sets, at first the real one."""
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not libraries:
        pytest.skip("libfaketime is not installed")
    folder = tmp_path / "clock"
    folder.mkdir()
    return Clock(folder, libraries[0])
