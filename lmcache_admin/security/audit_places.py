"""The files of an audit, and what stands at their beginnings and ends."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from lmcache_admin.security.audit_chain import Link, read_link

_STEP = 256 * 1024  # bytes that are read at a time from a file's end; most lines are far shorter


def beside(path: Path, ending: str) -> Path:
    """The file `<path>.<ending>`."""
    return path.with_name(f"{path.name}.{ending}")


def rotated_of(path: Path) -> list[Path]:
    """The rotated files of an audit, oldest first: the higher their number, the older."""
    rotated = [one for one in path.parent.glob(f"{path.name}.*") if one.suffix[1:].isdecimal()]
    return sorted(rotated, key=lambda one: -int(one.suffix[1:]))


def files_of(path: Path) -> list[Path]:
    """The files of an audit, oldest first."""
    return [*rotated_of(path), *([path] if path.exists() else [])]


def check_owner(descriptor: int) -> None:
    """Refuse a file that somebody else could rewrite.

    Raises:
        OSError: It is no regular file, belongs to another user than this one or root, or others may write it.
    """
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    if facts.st_uid not in (os.geteuid(), 0):
        raise OSError(errno.EPERM, f"it belongs to uid {facts.st_uid}; wanted: {os.geteuid()} or root")
    if facts.st_mode & 0o022:
        raise OSError(errno.EPERM, f"its mode is {stat.S_IMODE(facts.st_mode):04o}; wanted: 0600")


def parse_head(text: bytes) -> tuple[int, Link]:
    """Read what a head file says: the number of the first line that must be there, and the last link."""
    cells = text.split()
    if len(cells) < 3 or not cells[0].isdigit() or not cells[1].isdigit():
        return 0, Link()
    return int(cells[0]), Link(int(cells[1]), cells[2].decode("ascii", "replace"))


def first_number(file: Path) -> int:
    """Number of the first line of a file; 0 where it has none."""
    with file.open("rb") as lines:
        for line in lines:
            with contextlib.suppress(ValueError):
                return read_link(line).number
    return 0


def tail_from(descriptor: int, size: int) -> tuple[int, bytes]:
    """Where the last line begins that has no end, and what there is of it; of a whole file, its size and nothing."""
    start, tail = size, b""
    while start:
        begin = max(0, start - _STEP)
        tail, start = os.pread(descriptor, start - begin, begin) + tail, begin
        if (newline := tail.rfind(b"\n")) >= 0:
            return start + newline + 1, tail[newline + 1 :]
    return 0, tail


def last_link(descriptor: int, size: int) -> Link | None:
    """The link of the last line of a file that ends with a whole line; None where there is none."""
    while size:
        start, line = tail_from(descriptor, size - 1)
        with contextlib.suppress(ValueError):
            return read_link(line)
        size = start
    return None
