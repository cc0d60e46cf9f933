"""Verifying an audit that others may be writing to at the same time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from lmcache_admin.security.audit_chain import BrokenChain, Link, verify
from lmcache_admin.security.audit_places import beside, files_of, parse_head


class Opened(NamedTuple):
    """A file as it was when the lock was held."""

    path: Path
    file: BinaryIO
    size: int


def verify_files(path: Path) -> tuple[int, int]:
    """Verify the chain in `path` and its rotated files, as they are at this moment; nobody is held up by it.

    Returns:
        Number of the first and of the last line; (0, 0) when there is none.

    Raises:
        BrokenChain: It names file and line.
        OSError: A file cannot be read.
    """
    with contextlib.ExitStack() as stack:
        files, head = _at_this_moment(path, stack)
        first, end = 0, Link()
        for end in verify(_lines(files)):
            first = first or end.number
    number = end.number
    if first and not head:
        raise BrokenChain(str(beside(path, "head")), "it is missing: which lines must be there is not known")
    wanted, last = parse_head(head)
    if wanted > last.number:  # all were rotated away, and no line has come since
        return first, number
    if wanted and (not first or first > wanted):
        raise BrokenChain(str(path), f"lines {wanted} to {first - 1 if first else last.number} are missing")
    if last.number > number:
        raise BrokenChain(str(path), f"lines {number + 1} to {last.number} are missing at the end")
    if number > last.number + 1:  # one may have been written just before its writer was killed
        raise BrokenChain(str(path), f"lines {last.number + 1} to {number} were not written by this service")
    if last.number == number and last.digest != end.digest:
        raise BrokenChain(str(path), f"line {number} is not the one that was written")
    return first, number


def _at_this_moment(path: Path, stack: contextlib.ExitStack) -> tuple[list[Opened], bytes]:
    """Open all files while nobody writes, so that they and the head belong together."""
    head = stack.enter_context(beside(path, "head").open("rb")) if beside(path, "head").exists() else None
    if head is not None:
        fcntl.flock(head, fcntl.LOCK_SH)
    opened = []
    for one in files_of(path):
        file = stack.enter_context(one.open("rb"))
        opened.append(Opened(one, file, os.fstat(file.fileno()).st_size))
    if head is None:
        return opened, b""
    told = head.read(128)
    fcntl.flock(head, fcntl.LOCK_UN)
    return opened, told


def _lines(files: list[Opened]) -> Iterator[tuple[str, bool, bytes]]:
    for path, file, size in files:
        left = size
        for number, line in enumerate(file, 1):
            left -= len(line)
            torn = not line.endswith(b"\n") and path is files[-1].path
            if left < 0 or torn:  # written since, or by somebody who was killed: the head knows what must be there
                break
            yield f"{path}:{number}", number == 1, line
