"""Store on a disk that fails, and look what the next process finds; a program that the test runs.

Arguments: folder, fault, kind of damage, damaged chunks as "1,3". A chain of four chunks is stored, chunk files are
damaged, the fault is brought about; a fresh engine stores the chain again. Prints as JSON the tokens that this
store acknowledged, those that a further engine then retrieves from disk, and both once more after the fault is over.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lmcache_admin.engine import Configuration, Engine, Manager

CHUNK = 16
TOKENS = list(range(4 * CHUNK))
FSYNC = os.fsync


def engine_on(folder: Path) -> Engine:
    values = {"chunk_size": CHUNK, "local_disk": str(folder), "max_local_disk_size": 0.01, "max_local_cpu_size": 0.01}
    manager = Manager(Configuration.from_mapping(values, {}))
    manager.start()
    assert manager.lmcache_engine is not None
    return manager.lmcache_engine


def chain(folder: Path) -> list[Path]:
    """Store the chain chunk by chunk; the file of each."""
    engine = engine_on(folder)
    paths: list[Path] = []
    for end in range(CHUNK, len(TOKENS) + 1, CHUNK):
        assert engine.store(tokens=TOKENS[:end]) == end
        paths += set(folder.glob("*.chunk")) - set(paths)
    return paths


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    with path.open("r+b") as file:  # in place: on a full disk there is no room for another
        file.write(content)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def nothing(folder: Path) -> None:
    """No fault."""


def fill(folder: Path) -> None:
    """Leave no byte."""
    for size in (65536, 512):
        with suppress(OSError), (folder / f"fill-{size}").open("wb", buffering=0) as file:
            while file.write(bytes(size)):
                pass


def fill_all(folder: Path) -> None:
    """Leave no byte and no name: a corrupt file cannot even be set aside."""
    fill(folder)
    with suppress(OSError):
        for number in range(10_000):
            (folder / f"fill-{number}-").mkdir()


def empty(folder: Path) -> None:
    for path in folder.glob("fill-*"):
        path.rmdir() if path.is_dir() else path.unlink()


def limit(folder: Path) -> None:
    """Let no file grow beyond 500 bytes: fails like a full disk, half way through a chunk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, resource.RLIM_INFINITY))


def limit_all(folder: Path) -> None:
    """The same, and a corrupt file cannot be set aside."""
    (folder / "corrupt").write_bytes(b"")
    limit(folder)


def unlimit(folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def unsynced(kind: Callable[[int], bool]) -> Callable[[Path], None]:
    """Let every sync of a file, or of a folder, fail as on a medium that is broken."""

    def fault(folder: Path) -> None:
        def failing(descriptor: int) -> None:
            if kind(os.fstat(descriptor).st_mode):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            FSYNC(descriptor)

        os.fsync = failing  # type: ignore[assignment] # a disk that fails at this very call cannot be had

    return fault


def synced(folder: Path) -> None:
    os.fsync = FSYNC


def remount(option: str) -> Callable[[Path], object]:
    return lambda folder: subprocess.run(["mount", "-o", f"remount,{option}", str(folder)], check=True)


DAMAGES = {"flip": flip, "directory": directory}
FAULTS: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    "none": (nothing, nothing),
    "full": (fill, empty),
    "full, no names": (fill_all, empty),
    "limited": (limit, unlimit),
    "limited, nothing set aside": (limit_all, unlimit),
    "file sync": (unsynced(stat.S_ISREG), synced),
    "folder sync": (unsynced(stat.S_ISDIR), synced),
    "read-only": (remount("ro"), remount("rw")),
}


def main(folder: Path, fault: str, damage: str, damaged: list[int]) -> None:
    paths = chain(folder)
    for number in damaged:
        DAMAGES[damage](paths[number])
    begin, end = FAULTS[fault]
    found: list[int] = []
    begin(folder)
    engine = engine_on(folder)
    for over in (nothing, end):
        over(folder)
        found.append(engine.store(tokens=TOKENS))
        found.append(int(engine_on(folder).retrieve(tokens=TOKENS).sum()))
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1] == "--tmpfs":
        sys.argv[1:2] = []
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=64", "tmpfs", sys.argv[1]], check=True)
    os.umask(0o077)
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], [int(number) for number in sys.argv[4].split(",") if number])
