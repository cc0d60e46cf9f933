"""Scripts that are out of their box try to reach the host; each escape that is known is tried (S51)."""

import os
import signal
import socket
import subprocess
import sys

import pytest

PARENT = os.getpid()


def test_s51_a_script_that_is_out_of_its_box_is_in_another_process(escape):
    assert escape(f"result = os['getpid']() == {PARENT}").text == "False"
    names = escape("result = ' '.join(os['environ'])").text.split()
    assert set(names) <= {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LC_CTYPE"}  # the last is the interpreter's own
    assert escape("result = load('sys').flags.isolated, load('sys').flags.no_site").text == "(1, 1)"


@pytest.mark.parametrize("name", ["app", "engine", "manager"])
def test_s51_the_engine_is_not_there(script, name):
    assert script(f"result = {name}").text == f"name '{name}' is not defined"


@pytest.mark.parametrize(
    "statement",
    [
        f"open('/proc/{PARENT}/environ').read()",
        f"open('/proc/{PARENT}/mem', 'rb').read(1)",
        f"open('/proc/{PARENT}/cmdline').read()",
        f"os['listdir']('/proc/{PARENT}/fd')",
        f"os['readlink']('/proc/{PARENT}/exe')",
        "open('/proc/1/environ').read()",
        "open('/proc/self/environ').read()",
        "open('/etc/passwd').read()",
        "os['listdir']('/')",
        "os['listdir']('/dev/shm')",
        "open('TOKENS').read()",
        "os['open']('TOKENS', 0)",
        "os['listdir']('FOLDER')",
    ],
)
def test_s51_no_file_of_the_host_is_read(attempt, refused, planted, statement):
    text = attempt(statement.replace("TOKENS", str(planted)).replace("FOLDER", str(planted.parent)))
    assert refused(text), text


@pytest.mark.parametrize(
    "statement",
    [
        "open('TOKENS', 'w')",
        "open('TOKENS', 'a')",
        "open('TOKENS', 'r+')",
        "open('FOLDER/new', 'x')",
        "open('made-in-its-own-folder', 'w')",
        "open('/proc/self/oom_score_adj', 'w')",
        "os['truncate']('TOKENS', 0)",
        "os['unlink']('TOKENS')",
        "os['rename']('TOKENS', 'TOKENS.2')",
        "os['chmod']('TOKENS', 0o666)",
        "os['chown']('TOKENS', 1, 1)",
        "os['utime']('TOKENS', (1, 1))",
        "os['setxattr']('TOKENS', 'user.x', b'y')",
        "os['symlink']('TOKENS', 'FOLDER/link')",
        "os['link']('TOKENS', 'FOLDER/link')",
        "os['mkdir']('FOLDER/new')",
        "os['mkfifo']('FOLDER/new')",
    ],
)
def test_s51_nothing_is_written_or_changed(attempt, refused, planted, statement):
    def seen():
        facts = planted.stat()
        return facts.st_mode, facts.st_uid, facts.st_mtime_ns, planted.read_text(), sorted(planted.parent.iterdir())

    before = seen()
    text = attempt(statement.replace("TOKENS", str(planted)).replace("FOLDER", str(planted.parent)))
    assert refused(text), text
    assert seen() == before


@pytest.mark.parametrize(
    "statement",
    [
        "os['fork']()",
        "os['posix_spawn']('/bin/true', ['true'], {})",
        "load('subprocess').run(['/bin/true'])",
        "os['execv']('/bin/true', ['true'])",
        "load('multiprocessing').get_context('fork').Process(target=print).start()",
    ],
)
def test_s51_no_process_is_started(attempt, refused, statement):
    text = attempt(statement)
    assert refused(text), text


def test_s51_a_fork_bomb_is_none(escape):
    bomb = (
        "count = 0\nwhile count < 5000:\n    count = count + 1\n"
        "    try:\n        os['fork']()\n        result = 'forked'\n        break\n"
        "    except OSError:\n        result = count\n"
    )
    assert escape(bomb).text == "5000"


@pytest.mark.parametrize("number", [0, signal.SIGSTOP, signal.SIGKILL])
def test_s51_no_signal_reaches_another_process(attempt, refused, number):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        for target in (stranger.pid, PARENT):
            assert refused(attempt(f"os['kill']({target}, {int(number)})"))
        assert stranger.poll() is None
        stranger.communicate(b"\n", timeout=60)
    assert stranger.returncode == 0


@pytest.mark.parametrize("command", [8, 15, 10])
def test_s51_no_signal_reaches_the_parent_by_the_owner_of_a_pipe(attempt, refused, command):
    assert refused(attempt(f"load('fcntl').fcntl(1, {command}, {PARENT})"))


#: What it is -> the call, of the C library or by its number on x86-64 and aarch64.
CALLS = {
    "to trace": f"libc.ptrace(16, {PARENT}, 0, 0)",
    "to read memory": f"libc.process_vm_readv({PARENT}, 0, 0, 0, 0, 0)",
    "to write memory": f"libc.process_vm_writev({PARENT}, 0, 0, 0, 0, 0)",
    "to hold a process": f"libc.syscall(434, {PARENT}, 0)",
    "to take its descriptors": "libc.syscall(438, 0, 0, 0)",
    "to limit it": f"libc.prlimit({PARENT}, 7, ctypes.byref((ctypes.c_ulong * 2)(1, 1)), 0)",
    "to slow it down": f"libc.setpriority(0, {PARENT}, 19)",
    "to give it one core": f"libc.sched_setaffinity({PARENT}, 8, ctypes.byref(ctypes.c_ulong(1)))",
    "to share memory": "libc.shmget(1, 4096, 0o600)",
    "to take another view": "libc.unshare(0x10000000)",
    "to enter one": "libc.setns(0, 0)",
    "to ask by a ring": "libc.syscall(425, 1, 0)",
    "to load code into the kernel": "libc.syscall({0}, 0, 0, 0)",
    "to read its keys": "libc.syscall({1}, 0, 0, 0)",
    "to watch files": "libc.inotify_init()",
    "to keep disks busy": "libc.syscall({2}, 0)",
    "to survive its parent": "libc.prctl(1, 0, 0, 0, 0)",
    "to leave its group": "libc.setsid()",
    "to be another process": "libc.syscall({3}, 0x11, 0, 0, 0, 0)",
    "to connect": "libc.socket(1, 1, 0)",
}
NUMBERS = {"x86_64": (321, 250, 306, 56), "aarch64": (280, 219, 267, 220)}
LIBRARY = "ctypes = load('ctypes')\nlibc = ctypes.CDLL(None, use_errno=True)\n"


@pytest.mark.parametrize("call", CALLS)
def test_s51_no_call_of_the_kernel_reaches_out(escape, call):
    made = CALLS[call].format(*NUMBERS[os.uname().machine])
    assert escape(f"{LIBRARY}result = ({made}, ctypes.get_errno())").text == "(-1, 1)"


@pytest.mark.parametrize("number", [435, 437, 452, 467, 2000])
def test_s51_calls_that_nobody_looked_at_do_not_exist(escape, number):
    assert escape(f"{LIBRARY}result = (libc.syscall({number}, 0, 0, 0), ctypes.get_errno())").text == "(-1, 38)"


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"])
def test_s51_there_is_no_network(attempt, refused, family):
    assert refused(attempt(f"load('socket').socket(load('socket').{family}, load('socket').SOCK_DGRAM)"))


def test_s51_the_service_itself_is_out_of_reach(serve, attempt, refused):
    running = serve(tcp=True)
    assert refused(attempt(f"load('socket').create_connection(('127.0.0.1', {running.server.port}), 5)"))


def test_s51_a_socket_of_this_machine_is_out_of_reach(tmp_path, attempt, refused):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "listener"))
        listener.listen()
        made = "load('socket').socket(load('socket').AF_UNIX)"
        assert refused(attempt(f"{made}.connect('{tmp_path}/listener')"))
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()
    (tmp_path / "listener").unlink()


def test_s51_memory_is_limited(escape):
    ended = escape("held = []\nwhile True:\n    held.append(load('array').array('b', [1]) * 10**7)")
    assert (ended.kind, ended.text) == ("error", "")  # what MemoryError says
    assert escape("result = load('mmap').mmap(-1, 2 * 1024**3)").kind == "error"


@pytest.mark.parametrize(
    ("limit", "value"), [("CPU", 8), ("AS", 1024**3), ("FSIZE", 0), ("NOFILE", 64), ("CORE", 0), ("NPROC", 0)]
)
def test_s51_limits_are_set_and_cannot_be_raised(escape, limit, value):
    get, put = "load('resource').getrlimit", "load('resource').setrlimit"
    kind = f"load('resource').RLIMIT_{limit}"
    assert escape(f"result = {get}({kind})", seconds=6.5).text == str((value, value))
    tried = f"try:\n    {put}({kind}, ({value + 1}, {value + 1}))\nexcept load('builtins').Exception:\n    tried = 1\n"
    assert escape(f"{tried}result = {get}({kind})", seconds=6.5).text == str((value, value))


def test_s51_no_descriptor_of_this_process_is_there(escape, tmp_path):
    script = (
        "result = []\nfor number in range(64):\n    try:\n        os['fstat'](number)\n"
        "        result.append(number)\n    except OSError:\n        number = 0\n"
    )
    with open(tmp_path / "open", "w") as file:
        os.set_inheritable(file.fileno(), True)
        there = escape(script).text.strip("[]").split(", ")
    assert there[:3] == ["0", "1", "2"]
    assert len(there) == 4  # and the one on which it answers
