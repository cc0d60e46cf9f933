"""Kill a server that writes its audit again and again, and look for lost or broken lines; a program that a test runs.

Arguments: folder, rounds, seed, rotated files that are kept. Each round forks a server that is asked for changes over
four connections, and is killed at a random moment. Then the chain must verify as it lies there, and once more after
the next server has written to it; every change that was answered 200 must have the line of its intent. Prints the
findings as JSON.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

from lmcache_admin import InternalAPIServer
from lmcache_admin.cli.api import UnixConnection
from lmcache_admin.engine import Configuration, Manager
from lmcache_admin.security.audit_chain import BrokenChain
from lmcache_admin.security.audit_file import AuditFile
from lmcache_admin.security.audit_places import files_of, rotated_of
from lmcache_admin.security.audit_verify import verify_files

PREFIX = "internal_api_server_"
LARGEST_ROUND = 100_000
#: One that is only written, one that is on the medium before it begins.
ASKED = (("PUT", "/freeze/enable?n={}"), ("DELETE", "/cache/clear?n={}"))


def serve(folder: Path, keep: int) -> None:
    """Serve until killed."""
    extra = {"audit_file": str(folder / "audit.log"), "audit_max_bytes": 10_000, "audit_keep": keep}
    values = {
        f"{PREFIX}enabled": True,
        f"{PREFIX}socket_path_prefix": str(folder / "api"),
        "chunk_size": 16,
        "max_local_cpu_size": 0.01,
        "extra_config": {f"{PREFIX}{name}": value for name, value in extra.items()},
    }
    manager = Manager(Configuration.from_mapping(values, {}))
    manager.start()
    server = InternalAPIServer(manager)
    server.start()
    assert server.error is None, server.error
    signal.pause()


def ask(socket: str, first: int, told: list[int], enough: threading.Event, wanted: int) -> None:
    """Ask for changes on one connection until the server is killed."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        connection = UnixConnection(socket, 30)
        for number in range(first, first + LARGEST_ROUND):
            method, path = ASKED[number % 7 == 0]
            connection.request(method, path.format(number))
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:
                told.append(number)
            if len(told) >= wanted:
                enough.set()


def acknowledged_until_killed(folder: Path, turn: int, keep: int, moment: random.Random) -> list[int]:
    socket = str(folder / "api_7000")
    child = os.fork()
    if child == 0:
        serve(folder, keep)
        os._exit(1)
    end = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError):
            UnixConnection(socket, 30).connect()
            break
        assert time.monotonic() < end, "the server does not answer"
        time.sleep(0.01)
    told: list[int] = []
    enough = threading.Event()
    options = (told, enough, moment.randrange(1, 80))
    firsts = [(4 * turn + offset) * LARGEST_ROUND for offset in range(4)]
    clients = [threading.Thread(target=ask, args=(socket, first, *options)) for first in firsts]
    for client in clients:
        client.start()
    assert enough.wait(60)
    time.sleep(moment.random() * 0.004)  # the random moment itself, nothing is waited for
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for client in clients:
        client.join()
    return told


def intended(path: Path) -> set[int]:
    """Numbers of the last round's changes that have the line of their intent."""
    found = set()
    for file in files_of(path)[-100:]:
        for line in file.read_bytes().splitlines():
            with contextlib.suppress(ValueError):
                record = json.loads(line)
                if isinstance(record, dict) and record.get("kind") == "intent":
                    found.add(int(record["arguments"]["n"]))
    return found


def broken(path: Path) -> bool:
    try:
        verify_files(path)
    except BrokenChain as error:
        sys.stderr.write(f"{error}\n")
        return True
    return False


def main(folder: Path, rounds: int, seed: int, keep: int) -> None:
    moment = random.Random(seed)  # noqa: S311 - a moment to repeat, not a secret
    path = folder / "audit.log"
    found = dict.fromkeys(["rounds", "acknowledged", "rotated", "torn", "lost", "broken", "broken_later"], 0)
    for turn in range(rounds):
        told = acknowledged_until_killed(folder, turn, keep, moment)
        (folder / "api_7000").unlink()
        found["rounds"] += 1
        found["acknowledged"] += len(told)
        found["broken"] += broken(path)
        AuditFile(str(path), 10_000, keep).close()  # what the next start does
        found["broken_later"] += broken(path)
        found["lost"] += len(set(told) - intended(path)) if keep > 100 else 0
        found["rotated"] = max(found["rotated"], len(rotated_of(path)))
        found["torn"] = len(list(folder.glob("audit.log.torn-*")))
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
