"""`kill(thread)`: a thread that ends by an exception wherever it runs Python code next."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Iterator

import pytest


@pytest.fixture
def kill() -> Iterator[Callable[[threading.Thread], None]]:
    """Raise SystemExit in a thread.

    Nothing is measured for coverage meanwhile: CPython 3.11 spins in a traced thread as long as another one has such an
    exception to come, and a thread that is killed while it reports what it runs keeps the lock of the report.
    """

    def end(thread: threading.Thread) -> None:
        if thread.is_alive():
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))

    here, there = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)  # type: ignore[arg-type]
    yield end
    threading.settrace(there)  # type: ignore[arg-type]
    sys.settrace(here)
