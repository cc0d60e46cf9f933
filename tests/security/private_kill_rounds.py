"""Kill a writing process again and again and look what is in its file; a program that the test runs.

Arguments: file, rounds, seed. Each round forks a child that writes one of two contents after the other, as the
commands do, and kills it at a random moment. Prints the findings as JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import stat
import sys
import time
from pathlib import Path

from lmcache_admin.security.private_files import changing, read_private, write_private

CONTENTS = [letter * 200_000 for letter in (b"a", b"b")]


def write_forever(path: str, pipe: int) -> None:
    os.write(pipe, b"x")
    while True:
        for content in CONTENTS:
            with changing(path):
                write_private(path, content)


def kill_one(path: str, moment: random.Random) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        write_forever(path, writing)
    os.read(reading, 1)
    time.sleep(moment.random() * 0.01)  # the random moment itself, nothing is waited for
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reading)
    os.close(writing)


def main(path: str, rounds: int, seed: int) -> None:
    moment = random.Random(seed)  # noqa: S311 - a moment to repeat, not a secret
    found = {"rounds": 0, "half": 0, "open": 0, "while writing": 0}
    write_private(path, CONTENTS[0])
    for _ in range(rounds):
        kill_one(path, moment)
        found["rounds"] += 1
        found["half"] += read_private(path) not in CONTENTS
        found["open"] += any(stat.S_IMODE(file.stat().st_mode) != 0o600 for file in Path(path).parent.iterdir())
    with changing(path):  # a lock dies with its holder, and what was left beside the file is no hindrance
        write_private(path, CONTENTS[1])
    found["half"] += read_private(path) != CONTENTS[1]
    found["while writing"] = len(list(Path(path).parent.glob("*.new*")))
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
