"""Serve from a disk that fails: audit, tokens, chunks; a program that a test runs in a mount namespace of its own.

Arguments: folder, fault (`full` or `read-only`). Mounts a small file system there, starts a server whose audit, token
file and chunks lie on it, brings the fault about, asks for changes and reads, ends the fault, asks again. Prints as
JSON what was answered.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from lmcache_admin import InternalAPIServer
from lmcache_admin.cli.api import UnixConnection
from lmcache_admin.engine import Configuration, Manager
from lmcache_admin.security.audit_chain import BrokenChain
from lmcache_admin.security.audit_verify import verify_files

PREFIX = "internal_api_server_"


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def fill(disk: Path) -> None:
    for size in (65536, 512, 1):
        with suppress(OSError), (disk / f"fill-{size}").open("wb", buffering=0) as file:
            while file.write(bytes(size)):
                pass


def empty(disk: Path) -> None:
    for file in disk.glob("fill-*"):
        file.unlink()


def remount(option: str) -> Callable[[Path], object]:
    return lambda disk: subprocess.run(["mount", "-o", f"remount,{option}", str(disk)], check=True)


FAULTS: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    "full": (fill, empty),
    "read-only": (remount("ro"), remount("rw")),
}


class Site:
    """A server on the disk, and a client for it."""

    def __init__(self, disk: Path, folder: Path, audit: bool = True) -> None:
        extra = {"audit_file": str(disk / "audit.log") if audit else None}
        extra["session_key_file"] = str(disk / "session.key")
        values = {
            f"{PREFIX}enabled": True,
            f"{PREFIX}socket_path_prefix": str(folder / "api"),
            "chunk_size": 16,
            "local_cpu": False,
            "max_local_cpu_size": 0.01,
            "local_disk": str(disk / "chunks"),
            "max_local_disk_size": 0.01,
            "extra_config": {f"{PREFIX}{name}": value for name, value in extra.items()},
        }
        self.manager = Manager(Configuration.from_mapping(values, {}))
        self.manager.start()
        self.server = InternalAPIServer(self.manager)
        self.server.start()
        assert self.server.error is None, self.server.error

    def ask(self, method: str, path: str, body: str | None = None) -> tuple[int, Any]:
        assert self.server.socket_path is not None
        connection = UnixConnection(self.server.socket_path, 60)
        connection.request(method, path, body)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, json.loads(text) if answer.headers["Content-Type"] == "application/json" else text

    def changes(self, count: int) -> list[int]:
        return [self.ask("PUT", f"/freeze/disable?n={number}")[0] for number in range(count)]

    def stop(self) -> None:
        self.server.stop()
        self.manager.stop()


def reads(site: Site) -> list[int]:
    paths = ("/healthz", "/version", "/conf", "/freeze/status", "/audit", "/metrics")
    return [site.ask("GET", path)[0] for path in paths]


def ready(site: Site) -> str:
    """What readiness says once all is well again, or in the end."""
    status = ""
    for _ in range(60):
        status = site.ask("GET", "/readyz")[1]["status"]
        if status == "ok":
            break
        time.sleep(0.5)
    return status


def verified(path: Path) -> bool:
    with suppress(BrokenChain):
        return bool(verify_files(path)[1])
    return False


def tokens(disk: Path, name: str) -> int:
    command = [sys.executable, "-m", "lmcache_admin", "token", "add", name, "--role", "viewer"]
    return subprocess.run([*command, "--file", str(disk / "tokens")], capture_output=True, check=False).returncode


def main(folder: Path, fault: str) -> None:
    disk, log = folder / "disk", Lines()
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k,nr_inodes=200", "tmpfs", str(disk)], check=True)
    logging.getLogger().addHandler(log)
    site, (begin, end) = Site(disk, folder), FAULTS[fault]
    found: dict[str, Any] = {"before": site.changes(3), "stored": site.ask("POST", "/cache/store?tokens_mock=0,32")[1]}
    found["tokens"] = [tokens(disk, "first")]
    whole = (disk / "tokens").read_bytes()
    if fault == "read-only":  # the kernel lets nobody do that beneath files that are open
        site.stop()
    begin(disk)
    site = Site(disk, folder) if fault == "read-only" else site
    during = site.changes(200)
    found["during"], found["refused"] = during[-1], during.count(503)
    found["reads"], found["ready"] = reads(site), site.ask("GET", "/readyz")
    found["conf"] = site.ask("POST", "/conf", '{"min_retrieve_tokens": 7}')[0]
    found["value"] = json.loads(site.ask("GET", "/conf?names=min_retrieve_tokens")[1])["min_retrieve_tokens"]
    found["tokens"] += [tokens(disk, "second"), (disk / "tokens").read_bytes() == whole]
    found["left"] = sorted(path.name for path in disk.glob("tokens*"))
    found["logged"] = sum("The audit cannot be written" in text for text in log.texts)
    found["verified"] = [verified(disk / "audit.log")]
    site.stop()
    site = Site(disk, folder)  # a start in the midst of it
    found["restarted"] = [site.changes(40)[-1], *reads(site)]
    site.stop()
    site = Site(disk, folder, audit=False)  # what becomes of chunks that the disk does not take
    found["chunks"] = [site.ask("POST", f"/cache/{what}?tokens_mock=1000,1160")[1] for what in ("store", "retrieve")]
    found["failures"] = 'backend_put_failures_total{backend="LocalDiskBackend"' in site.ask("GET", "/metrics")[1]
    site.stop()
    site = Site(disk, folder)
    end(disk)
    found["after"] = site.changes(3)
    found["stored_after"] = site.ask("POST", "/cache/store?tokens_mock=0,32")[1]
    found["ready_after"] = ready(site)
    site.stop()
    found["verified"] += [verified(disk / "audit.log")]
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
