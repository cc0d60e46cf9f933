"""What a script's process may use, kept by every POSIX system."""

from __future__ import annotations

import contextlib
import math
import os
import resource

#: Most memory that the process may map, bytes.
MEMORY = 1024**3
_FILES = 64


def come_last() -> None:
    """Give others the processor first, and be the first to be ended for want of memory."""
    os.nice(10)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")


def limit(seconds: float) -> None:
    """Limit this process for good.

    Args:
        seconds: The deadline, of which all may be spent on the processor.
    """
    for kind, most in (
        (resource.RLIMIT_CPU, math.ceil(seconds) + 1),  # the deadline comes first: it is what is told
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _FILES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),  # counts all processes and threads of the user: none can be added; root is exempt
    ):
        hard = resource.getrlimit(kind)[1]
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (least, least))
