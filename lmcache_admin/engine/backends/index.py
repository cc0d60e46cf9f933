"""What a disk backend knows about its folders: names, sizes and the order of use, for its budget."""

from __future__ import annotations

import os
import threading
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import NamedTuple


class Seal(NamedTuple):
    """What a file's facts were when it was found whole; once any of them is another, it must be read again."""

    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, facts: os.stat_result) -> Seal:
        """The seal of a file with these facts."""
        return cls(facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


@dataclass(slots=True)
class Entry:
    """One file.

    Args:
        size: Bytes.
        used: Its time of last use in ns since the epoch, as far as this process knows.
        stamp: Rises with each change of the index, to tell entries that are younger than a scan.
        seal: Set once this process has written the file or read it without a fault.
        synced: Whether this process has brought the sealed file and its name onto the medium.
    """

    size: int
    used: int
    stamp: int
    seal: Seal | None
    synced: bool


class Index:
    """Files in order of use, with the bytes of files that are being written counted in; thread-safe."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._bytes = 0
        self._writing: Counter[str] = Counter()
        self._reserved = 0
        self._stamp = 0
        self._unscanned = 0

    def totals(self) -> tuple[int, int]:
        """Number of files and their bytes."""
        with self._lock:
            return len(self._entries), self._bytes

    def vouches(self, name: str, seal: Seal, *, synced: bool = False) -> bool:
        """Whether this process has found the file whole, has synced it if asked, and it is the same still."""
        with self._lock:
            entry = self._entries.get(name)
            return entry is not None and entry.seal == seal and (entry.synced or not synced)

    def withdraw(self, name: str) -> None:
        """Vouch for the file no more; it stays known."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is not None:
                entry.seal = None

    def sync(self, name: str, seal: Seal) -> None:
        """Note that the file with this seal is on the medium, name and all."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is not None and entry.seal == seal:
                entry.synced = True

    def add(self, name: str, size: int, used: int, seal: Seal | None = None, *, synced: bool = False) -> None:
        """Note a file as the one used last."""
        with self._lock:
            self._drop(name)
            self._stamp += 1
            self._entries[name] = Entry(size, used, self._stamp, seal, synced)
            self._bytes += size

    def touch(self, name: str, used: int) -> None:
        """Note that a known file was used just now."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is not None:
                entry.used = used
                self._entries.move_to_end(name)

    def reseal(self, name: str, before: Seal, after: Seal) -> None:
        """Note what this process's own change of a file's times has made of its seal.

        A file that was another before, or that was replaced meanwhile, keeps a seal that fits no more.
        """
        with self._lock:
            entry = self._entries.get(name)
            if entry is not None and entry.seal == before and before[:2] == after[:2]:
                entry.seal = after

    def forget(self, name: str) -> bool:
        """Note that a file is gone; whether it was known."""
        with self._lock:
            return self._drop(name)

    def reserve(self, name: str, size: int) -> None:
        """Count a file that is about to be written."""
        with self._lock:
            self._writing[name] += 1
            self._reserved += size
            self._unscanned += size

    def release(self, name: str, size: int) -> None:
        """End of a reservation, whether the file was written or not."""
        with self._lock:
            self._reserved -= size
            self._writing[name] -= 1
            if not self._writing[name]:
                del self._writing[name]

    def victim(self) -> tuple[str, Entry] | None:
        """Take out the file that was used longest ago, if the budget is exceeded."""
        with self._lock:
            if not self._entries or self._bytes + self._reserved <= self.capacity:
                return None
            name, entry = next(iter(self._entries.items()))
            self._drop(name)
            return name, entry

    def scan_due(self) -> int | None:
        """A stamp to scan the folders with, once a sixteenth of the budget was written since the last time.

        So several processes that share a folder exceed the budget by a sixteenth each at most.
        """
        with self._lock:
            if self._unscanned * 16 < self.capacity:
                return None
            self._unscanned = 0
            return self._stamp

    def merge(self, found: dict[str, tuple[int, int]], stamp: int) -> None:
        """Take over a scan: what is gone and what is new.

        Args:
            found: Name to size and time of last use (ns), oldest first.
            stamp: The index's stamp before the scan; what came later stays.
        """
        with self._lock:
            known = dict(self._entries)
            counted = known.keys() | self._writing.keys()  # a file with its name already may still be reserved
        gone = [name for name, entry in known.items() if name not in found and entry.stamp <= stamp]
        new = [(name, *facts) for name, facts in found.items() if name not in counted]
        for name in gone:
            self.forget(name)
        for name, size, used in new:
            self.add(name, size, used)

    def _drop(self, name: str) -> bool:
        entry = self._entries.pop(name, None)
        if entry is not None:
            self._bytes -= entry.size
        return entry is not None
