"""What fences a script's own process in; its program runs without the rest of this package, on the library alone."""

from pathlib import Path

__all__ = ["PROGRAM"]

#: What `python` runs.
PROGRAM = Path(__file__).with_name("child.py")
