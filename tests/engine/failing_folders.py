"""Share chunks through a folder that fails, and tell what happened; a program that the test runs.

Arguments: an empty folder, over which a small file system is mounted, and the fault. Prints as JSON the tokens that
a store acknowledged and that a fresh engine retrieves, before, during and after the fault; the lines of the log; the
names that are left besides chunks.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from lmcache_admin.engine import Configuration, Engine, Manager

CHUNK = 16
FIRST, SECOND = list(range(4 * CHUNK)), list(range(1000, 1000 + 4 * CHUNK))
LINES: list[str] = []


class Keeper(logging.Handler):
    """Keeps the lines of the log."""

    def emit(self, record: logging.LogRecord) -> None:
        LINES.append(record.getMessage())


def engine_on(folder: Path) -> Engine:
    extra = {"embedded_engine_heads": 32}  # 64 KiB a chunk: of those, five fit
    url = f"fs://host:1{folder}"
    values = {"chunk_size": CHUNK, "remote_url": url, "local_cpu": False, "max_local_cpu_size": 0.01}
    manager = Manager(Configuration.from_mapping({**values, "extra_config": extra}, {}))
    manager.start()
    assert manager.lmcache_engine is not None
    return manager.lmcache_engine


def remount(folder: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", str(folder)], check=True)


def fill(folder: Path) -> None:
    with suppress(OSError), (folder / "fill").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def main(folder: Path, fault: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", str(folder)], check=True)
    logging.getLogger().addHandler(Keeper(logging.WARNING))
    writer = engine_on(folder)

    def turn(tokens: list[int]) -> list[int]:
        stored = [writer.store(tokens) for _ in range(3)]
        return [*stored, int(engine_on(folder).retrieve(FIRST).sum())]

    before = turn(FIRST)
    fill(folder) if fault == "full" else remount(folder, "ro")
    during = turn(SECOND)
    (folder / "fill").unlink(missing_ok=True) if fault == "full" else remount(folder, "rw")
    after = turn(SECOND)
    found = int(engine_on(folder).retrieve(SECOND).sum())
    files = sorted(path.suffix for path in folder.rglob("*") if path.is_file())
    sys.stdout.write(json.dumps({"turns": [before, during, after], "found": found, "log": LINES, "files": files}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
