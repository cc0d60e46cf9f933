"""The hidden folder in each folder of a store: our checksums, unfinished files, a probe's chunks, damaged ones.

LMCache lists the files `*.data` of the folder itself, so nothing in here is ever taken for a chunk.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from lmcache_admin.engine.aside import Aside, remove_leftovers
from lmcache_admin.engine.chunks import ChunkKey
from lmcache_admin.engine.errors import UnsuitableChunkError
from lmcache_admin.engine.remote.codec import Record
from lmcache_admin.engine.remote.regular import open_regular

NAME = ".lmcache-admin"
CHECKSUMS = "checksums"
CORRUPT = "corrupt"
SUFFIX = ".data"
SEPARATOR = "-SEP-"
KEPT_CORRUPT = 32  # damaged files kept for inspection, in each folder
GRACE = 600.0  # seconds after which a probe's file, or a checksum without a file, belongs to nobody


def file_name(key: ChunkKey) -> str:
    """Name of a chunk's file. Source: LMCache 0.5.6, fs connector."""
    return key.text.replace("/", SEPARATOR) + SUFFIX


def key_text(name: str) -> str:
    """The key's text in a file's name."""
    return name.removesuffix(SUFFIX).replace(SEPARATOR, "/")


class Hidden:
    """What is ours in one folder of a store; made at the first write.

    Args:
        folder: The store's folder, which may not be there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.path = folder / NAME
        self._checksums = self.path / CHECKSUMS

    def make(self) -> int:
        """Make the folder where it is absent; the permissions of files here and beside: those of the store's folder.

        So whoever may use the folder may use what is in it, as with files that LMCache writes.
        """
        mode = self._folder.stat().st_mode
        if not self._checksums.is_dir():
            self.path.mkdir(mode=mode & 0o777, exist_ok=True)
            self._checksums.mkdir(mode=mode & 0o777, exist_ok=True)
        return mode & 0o666 | 0o600

    def note(self, name: str, record: Record, mode: int) -> None:
        """Write the checksum of the file of that name. Not synced: a crash can only make it none, or no record."""
        with Aside(self._checksums, mode) as aside:
            aside.write([record.text.encode("ascii")])
            aside.rename(self._checksum(name))

    def record(self, name: str, writing: str) -> Record | None:
        """The checksum of the file of that name; None when there is none, or when it is of another writing.

        A file that was copied with its times, or changed in place, is still the same writing; one that another
        program has written anew shares neither inode nor time with the checksum.

        Args:
            name: The file's name.
            writing: Its inode and time now.

        Raises:
            NewerFormatError: A later version wrote it.
        """
        try:
            with open_regular(self._checksum(name)) as file:
                record = Record.parse(file.readall())
        except (FileNotFoundError, UnsuitableChunkError):
            return None
        if record is None:
            return None
        same = [before == now for before, now in zip(record.writing.split(":"), writing.split(":"), strict=False)]
        return record if any(same) else None

    def forget(self, name: str) -> None:
        """Remove a checksum."""
        with suppress(FileNotFoundError):
            self._checksum(name).unlink()

    def take_in(self, path: Path, inode: int) -> bool:
        """Move a damaged file in here, unless another program has replaced it by now."""
        self.make()
        folder = self.path / CORRUPT
        folder.mkdir(mode=0o700, exist_ok=True)
        target = folder / f"{path.name[:200]}.{time.time_ns()}"
        path.rename(target)
        if target.stat().st_ino != inode and not path.exists():
            target.rename(path)  # replaced between the two steps: what was moved is the good one
            return False
        self.forget(path.name)
        oldest_first = sorted(folder.iterdir(), key=lambda kept: kept.name.rpartition(".")[2])
        for old in oldest_first[:-KEPT_CORRUPT]:
            old.unlink(missing_ok=True)
        return True

    def tidy(self, *, orphans: bool = False) -> None:
        """Remove what dead processes left; with `orphans` also checksums whose file is gone."""
        for folder in (self.path, self._checksums):
            with suppress(OSError):
                remove_leftovers(folder)
        for path in self.path.glob(f"*{SUFFIX}"):
            with suppress(OSError):
                if _age(path) > GRACE:
                    path.unlink()
                    self.forget(path.name)
        if orphans and self._checksums.is_dir():
            for path in self._checksums.iterdir():
                if not (self._folder / f"{path.stem}{SUFFIX}").exists() and _age(path) > GRACE:
                    path.unlink(missing_ok=True)

    def _checksum(self, name: str) -> Path:
        """Where the checksum of the file of that name lies; no longer a name than that."""
        return self._checksums / f"{name.removesuffix(SUFFIX)}.sum"


def _age(path: Path) -> float:
    """Seconds since the file was written; by the wall clock, as file times are."""
    with suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime
    return 0.0
