"""The Python that this program runs on, to start another process of it."""

from __future__ import annotations

import os
import sys


def interpreter() -> str:
    """Return the interpreter's path; under a server that embeds Python, `sys.executable` is that server's.

    Raises:
        OSError: It is nowhere to be found.
    """
    if os.path.basename(sys.executable or "").startswith("python"):
        return sys.executable
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for prefix in (sys.exec_prefix, sys.base_exec_prefix):
        path = os.path.join(prefix, "bin", name)
        if os.access(path, os.X_OK):
            return path
    raise OSError(f"there is no {name} below {sys.exec_prefix} or {sys.base_exec_prefix}")
