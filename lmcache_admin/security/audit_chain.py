"""The chain of audit lines: each holds the digest of the line before it and its own, so that no change goes unseen."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

#: First line of every file; a newer format is refused by name.
FORMAT = 1
HEADER = json.dumps({"lmcache_admin_audit": FORMAT}).encode() + b"\n"
#: What stands for the line before the first one.
BEGINNING = "0" * 64
_DIGEST = re.compile(r"[0-9a-f]{64}")


class BrokenChain(Exception):
    """A line that is not what was written there.

    Args:
        place: File and line.
        what: What is wrong with it.
    """

    def __init__(self, place: str, what: str) -> None:
        super().__init__(f"{place}: {what}")
        self.place, self.what = place, what


@dataclass(frozen=True)
class Link:
    """The end of a chain so far: number and digest of its last line."""

    number: int = 0
    digest: str = BEGINNING


def chained(record: Mapping[str, Any], last: Link) -> tuple[bytes, Link]:
    """Make the line that follows `last`, and the link that it is."""
    body = {"seq": last.number + 1, **record, "prev": last.digest}
    digest = _digest(body)
    return _written({**body, "hash": digest}), Link(last.number + 1, digest)


def read_link(line: bytes) -> Link:
    """Read the link of a line without checking it.

    Raises:
        ValueError: It is no line of an audit.
    """
    try:
        record = json.loads(line)
    except RecursionError:
        raise ValueError("no line of an audit") from None
    number, digest = (record.get("seq"), record.get("hash")) if isinstance(record, dict) else (None, None)
    if type(number) is not int or not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ValueError("no line of an audit")
    return Link(number, digest)


def verify(lines: Iterable[tuple[str, bool, bytes]], last: Link | None = None) -> Iterator[Link]:
    """Walk over lines in the order of their files, and yield the link that each is.

    Args:
        lines: (place, whether it begins a file, line) of all files, oldest first, headers included.
        last: The link before the first line; None where that was rotated away.

    Raises:
        BrokenChain: A line was changed, removed, put elsewhere, or is of a newer format.
    """
    for place, begins, line in lines:
        record = _record(place, line)
        if begins:
            _check_header(place, line, record)
            continue
        digest = record.pop("hash") if next(reversed(record), "") == "hash" else None
        if digest != _digest(record):
            raise BrokenChain(place, "the line was changed: its digest is another")
        number = record.get("seq")
        if type(number) is not int or (last is not None and number != last.number + 1):
            before = last.number if last else "the beginning"
            raise BrokenChain(place, f"line {number} follows line {before}: lines are missing or moved")
        if last is not None and record.get("prev") != last.digest:
            raise BrokenChain(place, "the line before it is not the one that stood there")
        last = Link(number, str(digest))
        yield last


def _check_header(place: str, line: bytes, record: Mapping[str, Any]) -> None:
    if record.get("lmcache_admin_audit", FORMAT) != FORMAT:
        raise BrokenChain(place, f"format {record['lmcache_admin_audit']!r}; this version reads {FORMAT}")
    if line != HEADER:
        raise BrokenChain(place, "the file does not begin with its header")


def _record(place: str, line: bytes) -> dict[str, Any]:
    """Read a line; the same facts written otherwise are a change too: a key given twice would show two readers two."""
    try:
        record = json.loads(line)
        same = isinstance(record, dict) and _written(record) == line
    except (ValueError, RecursionError):
        raise BrokenChain(place, "no JSON: the line is torn or was changed") from None
    if not isinstance(record, dict):
        raise BrokenChain(place, "no record")
    if not same and "lmcache_admin_audit" not in record:
        raise BrokenChain(place, "the line was changed: it is written otherwise")
    return record


def _written(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(_written(record)).hexdigest()
