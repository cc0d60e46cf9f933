"""Files of chunk hashes, a line for each lookup: begun anew at a size, the oldest removed beyond a number."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import time
from typing import Any

logger = logging.getLogger(__name__)

FORMAT = 1
PAUSE = 10.0  # seconds without an attempt after one that failed

_NAME = re.compile(r"chunk_hashes_\d{13}_\d+_\d{6}\.jsonl")  # LMCache's own have no process number, and are left alone


class HashFiles:
    """Appends lines of JSON; the first of each file is `{"format": 1, ...}`.

    What cannot be written is left out and said once: the figures do not depend on it. One thread at a time.

    Args:
        folder: Where; made at `open`.
        rotation_size: Bytes after which the next file is begun.
        max_files: Files that are kept in the folder, those of earlier processes included.
        facts: What the first line says besides the format.
    """

    def __init__(self, folder: str, rotation_size: int, max_files: int, facts: dict[str, Any]) -> None:
        self.folder = folder
        self.max_files = max_files
        self.current_size = 0
        self.count = 0
        self._rotation_size = rotation_size
        self._facts = facts
        self._file: int | None = None
        self._name = ""
        self._number = 0
        self._pause_until = 0.0
        self._said = False

    def open(self) -> None:
        """Make the folder.

        Raises:
            OSError: It cannot be made or read.
        """
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        self._prune()

    def append(self, line: dict[str, Any]) -> None:
        """Write one line, whole or not at all."""
        if time.monotonic() < self._pause_until:
            return
        data = _encoded(line)
        try:
            if self._file is not None and self.current_size + len(data) > self._rotation_size:
                self.close()
            self._write(self._begun(), data)
        except OSError as error:
            self._pause_until = time.monotonic() + PAUSE
            if not self._said:
                logger.warning("Chunk hashes cannot be written to %r: %s", self.folder, error.strerror or error)
            self._said = True
        else:
            self._said = False

    def close(self) -> None:
        """End the current file; the next line begins another."""
        closing, self._file = self._file, None
        self.current_size, self._name = 0, ""
        if closing is not None:
            os.close(closing)

    def _begun(self) -> int:
        """The current file, else a new one with its first line."""
        if self._file is not None:
            return self._file
        stamp = f"{time.time_ns() // 1_000_000:013d}_{os.getpid()}_{self._number:06d}"
        name = f"chunk_hashes_{stamp}.jsonl"
        path = os.path.join(self.folder, name)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._file, self._name, self._number = file, name, (self._number + 1) % 1_000_000
        try:
            self._write(file, _encoded({"format": FORMAT, **self._facts}))
            self._prune()
        except OSError:
            self.close()
            os.unlink(path)
            raise
        return file

    def _write(self, file: int, data: bytes) -> None:
        written = 0
        try:
            while written < len(data):
                written += os.write(file, data[written:])
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file, self.current_size)
            raise
        self.current_size += written

    def _prune(self) -> None:
        """Remove the oldest files beyond the number; their names sort by time."""
        names = sorted(name for name in os.listdir(self.folder) if _NAME.fullmatch(name))
        for name in names[: -self.max_files]:
            if name == self._name:  # the clock was set back
                continue
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self.folder, name))
        self.count = min(len(names), self.max_files)


def _encoded(line: dict[str, Any]) -> bytes:
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"
