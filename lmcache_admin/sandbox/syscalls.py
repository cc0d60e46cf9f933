"""Which system calls are refused, by a filter in the kernel (seccomp): whatever reaches out of the process.

What takes a capability is not listed, for the process has none and cannot get any.
Source: `linux/seccomp.h`, `linux/filter.h`, `asm/unistd_64.h`, `asm-generic/unistd.h`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Callable

from lmcache_admin.sandbox.kernel import Absent, system_call

#: Machine -> column of the tables below, and how the kernel names it in the filter's data.
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
#: The newest call that was looked at; a later one does not exist for a script.
_NEWEST = 450
#: Refused: processes, signals, other processes, their priority, network, memory that others share, new namespaces,
#: changes of the file system, attributes of files, news of files, all that a disk would have to do at once.
_DENIED = """
fork 57 - vfork 58 - execve 59 221 execveat 322 281 setsid 112 157 setpgid 109 154
kill 62 129 tkill 200 130 rt_sigqueueinfo 129 138 rt_tgsigqueueinfo 297 240 pidfd_open 434 434
pidfd_send_signal 424 424 pidfd_getfd 438 438 ptrace 101 117 process_vm_readv 310 270 process_vm_writev 311 271
process_madvise 440 440 process_mrelease 448 448 kcmp 312 272 perf_event_open 298 241 bpf 321 280 userfaultfd 323 282
setpriority 141 140 ioprio_set 251 30 sched_setparam 142 118 sched_setscheduler 144 119 sched_setattr 314 274
sched_setaffinity 203 122 migrate_pages 256 238 move_pages 279 239 setrlimit 160 164 personality 135 92
socket 41 198 connect 42 203 bind 49 200 listen 50 201 accept 43 202 accept4 288 242
io_uring_setup 425 425 io_uring_enter 426 426 io_uring_register 427 427
shmget 29 194 shmat 30 196 shmctl 31 195 semget 64 190 semop 65 193 semctl 66 191 semtimedop 220 192
msgget 68 186 msgsnd 69 189 msgrcv 70 188 msgctl 71 187 mq_open 240 180 mq_unlink 241 181
add_key 248 217 request_key 249 218 keyctl 250 219 unshare 272 97 setns 308 268
creat 85 - mkdir 83 - mkdirat 258 34 rmdir 84 - mknod 133 - mknodat 259 33 link 86 - linkat 265 37
symlink 88 - symlinkat 266 36 unlink 87 - unlinkat 263 35 rename 82 - renameat 264 38 renameat2 316 276
truncate 76 45 chmod 90 - fchmod 91 52 fchmodat 268 53 chown 92 - fchown 93 55 lchown 94 - fchownat 260 54
utime 132 - utimes 235 - utimensat 280 88 futimesat 261 -
setxattr 188 5 lsetxattr 189 6 fsetxattr 190 7 removexattr 197 14 lremovexattr 198 15 fremovexattr 199 16
name_to_handle_at 303 264 open_by_handle_at 304 265 inotify_init 253 - inotify_init1 294 26 inotify_add_watch 254 27
fanotify_init 300 262 fanotify_mark 301 263 sync 162 81 syncfs 306 267
"""
#: Refused as if they did not exist: the C library then takes an older call, whose arguments can be looked at.
_UNKNOWN = "clone3 435 435 openat2 437 437"
#: Looked at.
_CHECKED = "clone 56 220 tgkill 234 131 open 2 - openat 257 56 prlimit64 302 261 prctl 157 167 fcntl 72 25 ioctl 16 29"
_SECCOMP = (317, 277)
_SET_FILTER, _ALL_THREADS = 1, 1

_LOAD, _EQUAL, _ABOVE, _ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_KILL, _REFUSE, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_NUMBER, _MACHINE = 0, 4
_THREAD = 0x10000  # of clone: not a process
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_NAMES = (15, 16, 0x53564D41)  # of prctl: get and set a thread's name, name a mapping
_OWNERS = (8, 10, 15)  # of fcntl: who gets a signal, and which
_OWNER_CONTROLS = (0x8901, 0x8902, 0x5412)  # of ioctl: the same, and typing into a terminal

Code = list[tuple[int, int, int, int]]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def refuse_outside() -> None:
    """Refuse, to all threads for good, every call that reaches out of this process; files can be read.

    Raises:
        Absent: The kernel has no such filters, or the machine is another.
    """
    _install(_filter(_outside(_column())))


def refuse_files() -> None:
    """Refuse to open any file, also for reading.

    Raises:
        Absent: As above.
    """
    table = _numbers(_CHECKED, _column())
    numbers = [table[name] for name in ("open", "openat") if name in table]
    _install(_filter([step for number in numbers for step in _denied(number, errno.EPERM)]))


def _column() -> int:
    machine = os.uname().machine
    if machine not in _MACHINES or sys.maxsize < 2**32:
        raise Absent(f"no filter for the machine {machine}")
    return _MACHINES[machine][0]


def _numbers(table: str, column: int) -> dict[str, int]:
    cells = table.split()
    rows = zip(cells[::3], zip(cells[1::3], cells[2::3], strict=True), strict=True)
    return {name: int(numbers[column]) for name, numbers in rows if numbers[column] != "-"}


def _outside(column: int) -> Code:
    code: Code = [(_ABOVE, 0, 1, _NEWEST), _refuse(errno.ENOSYS)]
    for number in _numbers(_DENIED, column).values():
        code += _denied(number, errno.EPERM)
    for number in _numbers(_UNKNOWN, column).values():
        code += _denied(number, errno.ENOSYS)
    for name, number in _numbers(_CHECKED, column).items():
        check = _CHECKS[name]()
        code += [(_EQUAL, 0, len(check), number), *check]
    return code


def _filter(code: Code) -> bytes:
    machine = _MACHINES[os.uname().machine][1]
    head: Code = [(_LOAD, 0, 0, _MACHINE), (_EQUAL, 1, 0, machine), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, _NUMBER)]
    return b"".join(struct.pack("HBBI", *step) for step in [*head, *code, (_RETURN, 0, 0, _ALLOW)])


def _install(code: bytes) -> None:
    program = _Program(len(code) // 8, code)
    number = _SECCOMP[_column()]
    if system_call(number, ctypes.c_uint(_SET_FILTER), ctypes.c_uint(_ALL_THREADS), ctypes.byref(program)) > 0:
        raise Absent("a thread of the process has another filter")


def _refuse(number: int) -> tuple[int, int, int, int]:
    return (_RETURN, 0, 0, _REFUSE | number)


def _denied(call: int, number: int) -> Code:
    return [(_EQUAL, 0, 1, call), _refuse(number)]


def _argument(index: int, half: int = 0) -> tuple[int, int, int, int]:
    return (_LOAD, 0, 0, 16 + 8 * index + 4 * half)


def _one_of(index: int, values: tuple[int, ...], inside: int, outside: int) -> Code:
    """Return `inside` if an argument's lower half is one of `values`, else `outside`."""
    tests: Code = [(_EQUAL, len(values) - place, 0, value) for place, value in enumerate(values)]
    return [_argument(index), *tests, (_RETURN, 0, 0, outside), (_RETURN, 0, 0, inside)]


def _bits(index: int, bits: int, some: int, none: int) -> Code:
    return [_argument(index), (_ANY_BIT, 1, 0, bits), (_RETURN, 0, 0, none), (_RETURN, 0, 0, some)]


_EPERM = _REFUSE | errno.EPERM
_CHECKS: dict[str, Callable[[], Code]] = {
    "clone": lambda: _bits(0, _THREAD, _ALLOW, _EPERM),
    "tgkill": lambda: _one_of(0, (os.getpid(),), _ALLOW, _EPERM),  # to itself: abort
    "open": lambda: _bits(1, _WRITES, _EPERM, _ALLOW),
    "openat": lambda: _bits(2, _WRITES, _EPERM, _ALLOW),
    "prlimit64": lambda: [
        _argument(2),  # the new limit's address: none, where the old one is only asked for
        (_EQUAL, 0, 2, 0),
        _argument(2, half=1),
        (_EQUAL, 1, 0, 0),
        _refuse(errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ],
    "prctl": lambda: _one_of(0, _NAMES, _ALLOW, _EPERM),
    "fcntl": lambda: _one_of(1, _OWNERS, _EPERM, _ALLOW),
    "ioctl": lambda: _one_of(1, _OWNER_CONTROLS, _EPERM, _ALLOW),
}
