"""The files of a disk backend and what its index knows of them, kept in step; and room for more."""

from __future__ import annotations

import os
import threading
import time

from lmcache_admin.engine.backends.folders import PROBE, Folders
from lmcache_admin.engine.backends.index import Index, Seal


class Inventory:
    """Chunk files by name, those of other processes included; thread-safe.

    Args:
        folders: Where the files are.
        capacity: Bytes of all files together.
    """

    def __init__(self, folders: Folders, capacity: int) -> None:
        self.folders = folders
        self.index = Index(capacity)
        self.index.merge(folders.scan(), 0)
        self._scanning = threading.Lock()

    def note(self, name: str, seal: Seal, *, synced: bool) -> None:
        """Note a whole file, unless another thread has deleted it by now and will not look again."""
        self.index.add(name, seal.size, time.time_ns(), seal, synced=synced)
        if self.folders.find(name) is None:
            self.index.forget(name)

    def touch(self, name: str, path: str) -> None:
        """Make a file recently used, for every process that shares the folders."""
        now = time.time_ns()
        self.index.touch(name, now)
        try:
            before = Seal.of(os.stat(path))
            os.utime(path, ns=(now, now))
            self.index.reseal(name, before, Seal.of(os.stat(path)))
        except OSError:
            return  # a read-only folder; then only this process knows the order of use

    def drop(self, name: str, path: str) -> bool:
        """Delete a file; one that another thread has written since stays noted."""
        try:
            os.unlink(path)
        except OSError:
            return False
        finally:
            self.index.forget(name)
            self._note_remaining(name, path)
        return True

    def make_room(self) -> int:
        """Delete what was used longest ago until what is about to be written fits; the number of files deleted."""
        self._scan_when_due()
        evictions = 0
        while (victim := self.index.victim()) is not None:
            name, entry = victim
            path = self.folders.find(name)
            if path is None:
                continue
            used = _used(path)
            if used is not None and used > entry.used:  # another process used it since; it is not the oldest
                self.index.add(name, entry.size, used)
            elif self.drop(name, path):
                evictions += 1
            elif os.path.exists(path):  # cannot be deleted; the write will show whether anything can be done here
                break
        return evictions

    def _scan_when_due(self) -> None:
        if not self._scanning.acquire(blocking=False):
            return
        try:
            stamp = self.index.scan_due()
            if stamp is not None:
                self.index.merge(self.folders.scan(), stamp)
        finally:
            self._scanning.release()

    def _note_remaining(self, name: str, path: str) -> None:
        if name.startswith(PROBE):
            return
        try:
            size = os.stat(path).st_size
        except OSError:
            return
        self.index.add(name, size, time.time_ns())


def _used(path: str) -> int | None:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None
