"""A view of its own: no network, no other process, nobody's shared memory; where the kernel lets anybody have that."""

from __future__ import annotations

import os

from lmcache_admin.sandbox.kernel import call, die_with_parent

#: Source: `linux/sched.h`, CLONE_NEW… of user, network, IPC, host name, process ids.
_OWN = 0x10000000 | 0x40000000 | 0x08000000 | 0x04000000 | 0x20000000


def enter(descriptors: list[int]) -> None:
    """Go on as the first process of new namespaces; this process waits for it, and ends as it does.

    Args:
        descriptors: What only the process that goes on may hold.

    Raises:
        Absent: They are not to be had.
    """
    parent = os.getppid()
    call("unshare", _OWN)
    die_with_parent(parent)  # new credentials have cleared that
    inner = os.fork()
    if inner == 0:
        die_with_parent(0)  # outside of this namespace, so it has no number here
        return
    for descriptor in descriptors:
        os.close(descriptor)
    code = os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1])
    os._exit(code if code >= 0 else 128 - code)
