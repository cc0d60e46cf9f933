"""The program of a script's own process: it fences itself in, says how, executes the script and answers.

Started as `python -I -S -B -X utf8 child.py DESCRIPTOR`; the request is a JSON object on standard input. What it writes
to the descriptor: a line of JSON about the fences and the modules, a line `result` or `error`, and the text.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import types
from collections.abc import Callable
from functools import partial
from typing import Any


def main() -> None:
    """Do what the request asks for."""
    _load_rooms()
    descriptor = int(sys.argv[1])
    asked: dict[str, Any] = json.loads(sys.stdin.buffer.read())
    fences = _fence_in(asked, descriptor)
    sys.path += asked["path"]
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")  # no thread can be started
    with os.fdopen(descriptor, "wb") as answer:

        def say(text: str) -> None:
            answer.write(text.encode("utf-8", "backslashreplace"))
            answer.flush()

        kind, text = _execute(asked, fences, say)
        say(f"{kind}\n{text}")
        sys.stdout.flush()
    os._exit(0)  # nothing that the script has left behind runs


def _execute(asked: dict[str, Any], fences: dict[str, Any], say: Callable[[str], None]) -> tuple[str, str]:
    """Say how this process is fenced in, and then execute the script."""
    from lmcache_admin.sandbox.execution import ScriptError, execute, import_all

    missing: dict[str, str] = {}
    try:
        try:
            modules = import_all(asked["allowed"], missing.__setitem__)
        finally:
            if isinstance(fences["landlock"], str):  # then nothing is read from here on, also no module of the library
                _refuse_files(fences, asked)
            say(json.dumps({"fences": fences, "missing": missing}) + "\n")
        return "result", execute(asked["script"].encode("latin-1"), modules, {"snapshot": asked["snapshot"]})
    except ScriptError as error:
        return "error", str(error)


def _load_rooms() -> None:
    """Load what is needed of this package while it can be read, without the package's own start: a web server."""
    package = types.ModuleType("lmcache_admin")
    package.__path__ = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
    sys.modules["lmcache_admin"] = package
    for room in ("execution", "kernel", "landlock", "limits", "namespaces", "syscalls"):
        importlib.import_module(f"lmcache_admin.sandbox.{room}")


def _fence_in(asked: dict[str, Any], descriptor: int) -> dict[str, Any]:
    """Give up whatever can be given up here; return name -> true, a version, or the reason why it could not be."""
    from lmcache_admin.sandbox import kernel, landlock, limits, namespaces, syscalls

    fences: dict[str, Any] = {}
    limits.come_last()
    for name, fence in (
        ("parent", partial(kernel.die_with_parent, asked["parent"])),
        ("namespaces", partial(namespaces.enter, [descriptor, 0, 1, 2])),
        ("limits", partial(limits.limit, asked["seconds"])),
        ("privileges", kernel.gain_no_privileges),
        ("capabilities", kernel.drop_capabilities),
        ("landlock", partial(landlock.restrict, [*_library(), *asked["trees"]], asked["listed"])),
        ("seccomp", syscalls.refuse_outside),
    ):
        _put(fences, name, fence, asked)
    return fences


def _refuse_files(fences: dict[str, Any], asked: dict[str, Any]) -> None:
    from lmcache_admin.sandbox import syscalls

    _put(fences, "files", syscalls.refuse_files, asked)


def _put(fences: dict[str, Any], name: str, fence: Callable[[], Any], asked: dict[str, Any]) -> None:
    if name in asked["without"]:
        fences[name] = "left out"
        return
    try:
        fences[name] = fence() or True
    except OSError as error:
        fences[name] = error.strerror or str(error)


def _library() -> list[str]:
    """Where the interpreter's own modules are, and the shared libraries that they load."""
    prefix = os.path.join(sys.base_exec_prefix, "lib")
    return [*filter(None, sys.path), prefix, "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"]


if __name__ == "__main__":
    main()
