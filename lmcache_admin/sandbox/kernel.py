"""Calls on the Linux kernel for which Python has no function."""

from __future__ import annotations

import ctypes
import os
import signal

_SET_DEATH_SIGNAL, _SET_NO_NEW_PRIVILEGES = 1, 38
_CAPABILITY_VERSION = 0x20080522


class Absent(OSError):
    """This system, or whoever confines this process already, does not offer it."""


def call(name: str, *arguments: object) -> int:
    """Call a function of the C library.

    Raises:
        Absent: There is no such function, or it failed.
    """
    try:
        result: int = getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments)
    except (AttributeError, OSError) as error:
        raise Absent(str(error)) from None
    if result < 0:
        number = ctypes.get_errno()
        raise Absent(number, os.strerror(number))
    return result


def system_call(number: int, *arguments: object) -> int:
    """Make a system call by its number.

    Raises:
        Absent: It failed.
    """
    return call("syscall", ctypes.c_long(number), *arguments)


def gain_no_privileges() -> None:
    """From here on no program gives this process more rights than it has; the fences below ask for that.

    Raises:
        Absent: No Linux.
    """
    _prctl(_SET_NO_NEW_PRIVILEGES, 1)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends; at once if that has happened.

    Raises:
        Absent: No Linux.
    """
    _prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def drop_capabilities() -> None:
    """Give up what root may do beyond files of its own.

    Raises:
        Absent: No Linux.
    """
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    call("capset", header, (ctypes.c_uint32 * 6)())


def _prctl(option: int, value: int) -> None:
    call("prctl", option, *map(ctypes.c_ulong, (value, 0, 0, 0)))
