"""A script in a process of its own: started, fed, listened to, and ended with all that belongs to it."""

from __future__ import annotations

import json
import logging
import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from lmcache_admin.errors import Failure
from lmcache_admin.interpreter import interpreter
from lmcache_admin.jobs import Job
from lmcache_admin.operations.script_modules import Modules
from lmcache_admin.sandbox import PROGRAM

logger = logging.getLogger(__name__)

#: Most bytes of a script's answer; as many of what it prints are kept.
MOST = 1024 * 1024
#: How much of what it prints is logged.
_LOGGED = 10_000
#: How much of what the interpreter says is told, where it does not get as far as the script.
_LAST = 300
#: Seconds between two looks at deadline and cancel.
_TURN, _BREATH = 0.1, 0.002
_PIECE = 65_536


@dataclass
class Ended:
    """How a script's process ended.

    Args:
        fences: Name -> true, a version, or the reason why it is not there.
        kind: `result` or `error`; empty if it died before it could say.
        text: What it answered.
        printed: What it printed.
        missing: Modules that cannot be imported, and why.
    """

    fences: Mapping[str, Any] = field(default_factory=dict)
    kind: str = ""
    text: str = ""
    printed: str = ""
    missing: Mapping[str, str] = field(default_factory=dict)


def run(source: bytes, allowed: Collection[str], snapshot: Mapping[str, Any], seconds: float, job: Job) -> str:
    """Execute a script in a process of its own, and return the text of its `result`.

    Args:
        source: Python source.
        allowed: Exact names of modules that it may import.
        snapshot: What it finds as `snapshot`.
        seconds: After which it is ended.
        job: Asked whether to go on; a cancel ends the process.

    Raises:
        Failure: 500, the script raised something or was ended; the body is the contract's text.
    """
    ended = execute(source, allowed, snapshot, seconds, job)
    for name, why in ended.missing.items():
        logger.warning("A module of script_allowed_imports cannot be imported: %s: %r", name, why)
    if ended.printed:
        logger.info("A script printed %r", ended.printed[:_LOGGED])
    if ended.kind != "result":
        raise Failure(500, f"Error executing script: {ended.text}")
    return ended.text


def execute(
    source: bytes,
    allowed: Collection[str],
    snapshot: Mapping[str, Any],
    seconds: float,
    job: Job,
    without: Collection[str] = (),
) -> Ended:
    """Execute a script, and return all that became of it; arguments as above.

    Args:
        without: Fences that are left out, to see what the others hold back.

    Raises:
        Failure: 500, the process could not be started, or was ended.
    """
    modules = Modules.of(allowed)
    asked = {
        "parent": os.getpid(),
        "script": source.decode("latin-1"),
        "allowed": list(allowed),
        "snapshot": snapshot,
        "seconds": seconds,
        "path": modules.path,
        "trees": modules.trees,
        "listed": modules.listed,
        "without": list(without),
    }
    with _started() as (process, answer):
        try:
            talk = _Talk(process, answer, json.dumps(asked).encode())
            talk.until_its_end(time.monotonic() + seconds, seconds, job)
        finally:
            with suppress(ProcessLookupError):  # where nobody waits for children, none is left to be ended
                os.killpg(process.pid, signal.SIGKILL)  # its number is its own until it is waited for
    return talk.ended(process.returncode)


@contextmanager
def _started() -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start the program in an empty folder; at the end it is waited for, and the folder is gone."""
    folder = tempfile.mkdtemp(prefix="lmcache-admin-script-")
    answer, end = os.pipe()
    try:
        with _process(folder, end) as process:
            os.close(end)
            end = -1
            yield process, answer
    finally:
        for descriptor in (answer, end):
            if descriptor >= 0:
                os.close(descriptor)
        shutil.rmtree(folder, ignore_errors=True)


def _process(folder: str, end: int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603 - our own program
            [interpreter(), "-I", "-S", "-B", "-X", "utf8", str(PROGRAM), str(end)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(end,),
            cwd=folder,
            env={},
            start_new_session=True,
        )
    except OSError as error:
        raise _stopped(f"no process could be started: {error.strerror or error}") from None


class _Talk:
    """Sends a process its request, and takes in what it prints and answers.

    Args:
        process: Just started.
        answer: Where it answers.
        request: What it is sent.
    """

    def __init__(self, process: subprocess.Popen[bytes], answer: int, request: bytes) -> None:
        if process.stdin is None or process.stdout is None:
            raise TypeError("the process has no pipes")
        self._process, self._answer, self._printed = process, answer, process.stdout.fileno()
        self._left = memoryview(request)
        self._taken = {answer: bytearray(), self._printed: bytearray()}
        self._selector = selectors.DefaultSelector()
        self._selector.register(process.stdin, selectors.EVENT_WRITE)
        for descriptor in self._taken:
            self._selector.register(descriptor, selectors.EVENT_READ)
        os.set_blocking(process.stdin.fileno(), False)

    def until_its_end(self, end: float, seconds: float, job: Job) -> None:
        """Listen until the process has ended.

        Raises:
            Failure: 500, the deadline has passed, or it answers too much.
            Cancelled: Somebody cancelled the job.
        """
        with self._selector:
            while self._selector.get_map() or not self._has_ended():
                job.checkpoint()
                if time.monotonic() >= end:
                    raise _stopped(f"ended after {seconds:g} s")
                if not self._selector.get_map():
                    time.sleep(_BREATH)  # it has closed its ends, and is about to go
                    continue
                for key, _ in self._selector.select(_TURN):
                    self._send() if key.events == selectors.EVENT_WRITE else self._take(key.fd)

    def ended(self, code: int) -> Ended:
        """What became of it.

        Args:
            code: The process's exit code.
        """
        first, _, rest = bytes(self._taken[self._answer]).partition(b"\n")
        kind, _, text = rest.partition(b"\n")
        printed, said = self._taken[self._printed].decode(errors="replace"), ""
        try:
            report = json.loads(first)
        except ValueError:
            report = {"fences": {}, "missing": {}}
            said = f": {printed.strip()[-_LAST:]}"  # by the interpreter, before there was a script
        if kind not in (b"result", b"error"):
            number = -code if code < 0 else code - 128
            how = f"signal {number}" if number > 0 else f"exit code {code}"
            kind, text = b"", f"its process ended without an answer ({how}){said}".encode()
        return Ended(report["fences"], kind.decode(), text.decode(errors="replace"), printed, report["missing"])

    def _has_ended(self) -> bool:
        """Whether the process has, without taking note of it: it keeps its number."""
        try:
            return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
        except ChildProcessError:  # the host does not wait for its children, and the kernel forgets them
            return True

    def _send(self) -> None:
        stdin = self._process.stdin
        if stdin is None:
            return
        try:
            self._left = self._left[os.write(stdin.fileno(), self._left[:_PIECE]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # it has died
            self._left = self._left[:0]
        if not self._left:
            self._selector.unregister(stdin)
            stdin.close()

    def _take(self, descriptor: int) -> None:
        piece, taken = os.read(descriptor, _PIECE), self._taken[descriptor]
        if not piece:
            self._selector.unregister(descriptor)
        elif len(taken) + len(piece) <= MOST:
            taken += piece
        elif descriptor == self._answer:
            raise _stopped(f"its output is larger than {MOST} bytes")


def _stopped(why: str) -> Failure:
    return Failure(500, f"Error executing script: {why}")
