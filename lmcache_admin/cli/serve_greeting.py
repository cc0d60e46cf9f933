"""What `serve` says when it listens: where, where the chunks are kept, and what to try."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from lmcache_admin.engine import Configuration
from lmcache_admin.internal_api_server import InternalAPIServer
from lmcache_admin.settings import Settings

__all__ = ["greeting"]

EXAMPLES = {
    "worker 0": (
        ("-X", "POST", "/cache/store?tokens_mock=0,512"),
        ("-X", "POST", "/cache/retrieve?tokens_mock=0,512"),
        ("/conf?names=chunk_size,max_local_cpu_size,local_disk",),
    ),
    "scheduler": (("/readyz",), ("/version",), ("/threads",)),
}


def greeting(
    servers: Mapping[str, InternalAPIServer], settings: Settings, configuration: Configuration, folder: Path
) -> str:
    """Write it.

    Args:
        servers: Name to server; those that are not enabled are left out.
        settings: What they were told.
        configuration: What the engine was told.
        folder: The data folder.
    """
    listening = {name: server for name, server in servers.items() if server.enable}
    lines = [f"{name:<10} {_where(server, settings)}" for name, server in listening.items()]
    name = "worker 0" if "worker 0" in listening else "scheduler"
    tries = [f"  {_curl(listening[name], settings, parts)}" for parts in EXAMPLES[name]]
    return "\n".join(
        [*lines, f"data       {_data(configuration, folder)}", "", "Try next:", *tries, "", "Ctrl-C ends it."]
    )


def _data(configuration: Configuration, folder: Path) -> str:
    disk = configuration.local_disk
    if not disk or not configuration.max_local_disk_size:
        return "in memory only, no disk: max_local_disk_size is 0"
    return str(folder) if disk == str(folder / "chunks") else disk


def _where(server: InternalAPIServer, settings: Settings) -> str:
    if server.socket_path is not None:
        return os.path.abspath(server.socket_path)
    return _base(server, settings)


def _base(server: InternalAPIServer, settings: Settings) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared only
    return f"http://[{host}]:{server.port}" if ":" in host else f"http://{host}:{server.port}"


def _curl(server: InternalAPIServer, settings: Settings, parts: Sequence[str]) -> str:
    *options, path = parts
    if server.socket_path is not None:
        options = ["--unix-socket", os.path.abspath(server.socket_path), *options]
        return shlex.join(["curl", "-s", *options, f"http://localhost{path}"])
    return shlex.join(["curl", "-s", *options, _base(server, settings) + path])
