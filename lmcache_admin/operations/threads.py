"""Stacks of running threads as text; what is the same in many of them is written and masked once."""

from __future__ import annotations

import linecache
import sys
import threading
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import groupby
from types import FrameType

Mask = Callable[[str], str]
#: How often an entry is shown before it is only counted, as Python's own stacks have it.
_REPEATS = 3


def describe(name: str, thread_id: int, mask: Mask) -> str:
    """Return the stacks of the threads that match.

    Args:
        name: Part of the name, in any letter case; empty: any.
        thread_id: `threading.Thread.ident`; 0: any.
        mask: Takes secrets out of a line; best one that remembers.
    """
    frames = sys._current_frames()
    chosen = [t for t in threading.enumerate() if name.lower() in t.name.lower() and thread_id in (0, t.ident)]
    texts = [_describe_one(thread, frames.get(thread.ident or 0), mask) for thread in chosen]
    return "\n\n".join(texts) + f"\n\n=== Thread Summary ===\nTotal threads: {len(chosen)}\n"


def _describe_one(thread: threading.Thread, frame: FrameType | None, mask: Mask) -> str:
    head = mask(f"Thread: {thread!r}\n")
    if frame is None:
        return head + "No stack trace available\n"
    return head + "Stack trace:\n" + "".join(_entries(frame, mask))


def _entries(frame: FrameType, mask: Mask) -> Iterator[str]:
    stack = []
    found: FrameType | None = frame
    while found is not None:
        code = found.f_code
        stack.append((code.co_filename, found.f_lineno, code.co_name))
        found = found.f_back
    for place, group in groupby(reversed(stack)):
        count = len(list(group))
        yield from [mask(_entry(*place))] * min(count, _REPEATS)
        if count > _REPEATS:
            more = count - _REPEATS
            yield f"  [Previous line repeated {more} more time{'s' if more > 1 else ''}]\n"


@lru_cache(maxsize=8192)
def _entry(file: str, line: int | None, function: str) -> str:
    """One place as `traceback.format_stack` shows it."""
    source = linecache.getline(file, line or 0).strip()
    return f'  File "{file}", line {line}, in {function}\n' + (f"    {source}\n" if source else "")
