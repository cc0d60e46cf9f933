"""Which files can be opened, by the kernel's Landlock (Linux 5.13): a few folders for reading, nothing for writing.

Source: the kernel's `landlock.rst` and `linux/landlock.h`.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct

from lmcache_admin.sandbox.kernel import system_call

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
#: Version -> how many rights on files it knows: to refer (2), to truncate (3), to control devices (5).
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
_ALL_RIGHTS = 16
_NET, _SCOPED = 0b11, 0b11  # TCP: bind, connect (version 4); abstract sockets and signals to others (6)


def version() -> int:
    """Return the version of Landlock.

    Raises:
        Absent: The kernel has none, or it is switched off.
    """
    return system_call(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1))


def restrict(trees: list[str], listed: list[str]) -> int:
    """Let this thread, and what it starts, open nothing but some files for reading; return Landlock's version.

    Args:
        trees: Files, and folders with all that lies below them.
        listed: Folders whose names may be listed, without what is in the files.

    Raises:
        Absent: The kernel has no Landlock, or it is switched off.
    """
    abi = version()
    rights = (1 << _RIGHTS.get(abi, _ALL_RIGHTS)) - 1
    wanted = [rights, *([_NET] if abi >= 4 else []), *([_SCOPED] if abi >= 6 else [])]
    attributes = struct.pack(f"{len(wanted)}Q", *wanted)
    ruleset = system_call(_CREATE, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    for path in trees:
        _allow(ruleset, path, _READ_FILE | _READ_DIR)
    for path in listed:
        _allow(ruleset, path, _READ_DIR)
    system_call(_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    os.close(ruleset)
    return abi


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # it is not there, or not for us
        return
    if not stat.S_ISDIR(os.fstat(place).st_mode):
        rights &= _READ_FILE
    if rights:
        rule = struct.pack("=Qi", rights, place)
        system_call(_ADD, ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint32(0))
    os.close(place)
