"""Stacks of running threads as text."""

from __future__ import annotations

import sys
import threading
import traceback
from types import FrameType


def describe(name: str, thread_id: int) -> str:
    """Return the stacks of the threads that match.

    Args:
        name: Part of the name, in any letter case; empty: any.
        thread_id: `threading.Thread.ident`; 0: any.
    """
    frames = sys._current_frames()
    chosen = [t for t in threading.enumerate() if name.lower() in t.name.lower() and thread_id in (0, t.ident)]
    texts = [_describe_one(thread, frames.get(thread.ident or 0)) for thread in chosen]
    return "\n\n".join(texts) + f"\n\n=== Thread Summary ===\nTotal threads: {len(chosen)}\n"


def _describe_one(thread: threading.Thread, frame: FrameType | None) -> str:
    head = f"Thread: {thread!r}\n"
    if frame is None:
        return head + "No stack trace available\n"
    return head + "Stack trace:\n" + "".join(traceback.format_stack(frame))
