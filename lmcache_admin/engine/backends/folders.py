"""The folders of a disk backend: where a chunk's file lies, what is there, and what is set aside."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from lmcache_admin.engine.aside import remove_leftovers
from lmcache_admin.engine.errors import StorageError

logger = logging.getLogger(__name__)

SUFFIX = ".chunk"
PROBE = "probe-"
ASIDE = "corrupt"
KEPT_ASIDE = 32  # corrupt files kept for inspection, in each folder
PROBE_LIFE = 600.0  # seconds after which a probe's file belongs to a dead process
CHUNK_FILE = re.compile(r"[0-9a-f]{32}\.chunk\Z")


class Folders:
    """One or several folders that share chunks among them by name.

    Args:
        paths: Folders; made with mode 0700 where absent.

    Raises:
        StorageError: A folder cannot be made or is none.
    """

    def __init__(self, paths: Sequence[str | os.PathLike[str]]) -> None:
        self._paths = [Path(path) for path in paths]
        self._texts = [str(path) for path in self._paths]  # each chunk asks several times; a Path takes its time
        for path in self._paths:
            try:
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                why = error.strerror
                raise StorageError(f"local_disk: cannot make folder {str(path)!r}: {why}") from error
            self._tidy(path)

    def home(self, name: str) -> str:
        """Where a file of that name is written."""
        return self._places(name)[0]

    def find(self, name: str) -> str | None:
        """Where a file of that name lies, also if it was written when there were other folders."""
        for path in self._places(name):
            if os.path.isfile(path):
                return path
        return None

    def scan(self) -> dict[str, tuple[int, int]]:
        """Chunk files by name: size and time of last use (ns), oldest first; a probe's are left out."""
        found: dict[str, tuple[int, int]] = {}
        for entry in self._entries():
            with suppress(OSError):
                facts = entry.stat()
                found[entry.name.removesuffix(SUFFIX)] = (facts.st_size, facts.st_mtime_ns)
        return dict(sorted(found.items(), key=lambda item: item[1][1]))

    def paths(self) -> list[str]:
        """Chunk files of this moment, a probe's left out."""
        return [entry.path for entry in self._entries()]

    def set_aside(self, place: str, inode: int) -> bool:
        """Move a corrupt file out of the way, unless another process has replaced it by now."""
        path = Path(place)
        folder = path.parent / ASIDE
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            if path.stat().st_ino != inode:
                return False
            target = folder / f"{path.name}.{time.time_ns()}"
            path.rename(target)
            if target.stat().st_ino != inode and not path.exists():
                target.rename(path)  # replaced between the two steps: what was moved is the good one
                return False
            _prune(folder)
        except OSError as error:
            logger.warning("Cannot set aside corrupt chunk file %r: %s", str(path), error.strerror)
            return False
        return True

    def _places(self, name: str) -> list[str]:
        first = int(name[-8:], 16) % len(self._texts)
        return [f"{folder}/{name}{SUFFIX}" for folder in (*self._texts[first:], *self._texts[:first])]

    def _entries(self) -> Iterator[os.DirEntry[str]]:
        for folder in self._texts:
            with suppress(OSError), os.scandir(folder) as entries:
                for entry in entries:
                    if CHUNK_FILE.match(entry.name) and entry.is_file():
                        yield entry

    def _tidy(self, folder: Path) -> None:
        removed = remove_leftovers(folder)
        for path in folder.glob(f"{PROBE}*{SUFFIX}"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > PROBE_LIFE:
                    path.unlink()
        if removed:
            logger.info("Removed %d unfinished chunk files of dead processes from %r", removed, str(folder))


def _prune(folder: Path) -> None:
    for path in sorted(folder.iterdir(), key=lambda path: path.name.rpartition(".")[2])[:-KEPT_ASIDE]:
        path.unlink(missing_ok=True)
