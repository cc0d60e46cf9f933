"""`lmcache-admin serve`: the service with the embedded engine, a scheduler and a worker in one process."""

from __future__ import annotations

import logging
import os
import queue
import shlex
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType

import click

from lmcache_admin.cli.log_output import start_logging
from lmcache_admin.cli.serve_settings import data_folder, serve_values
from lmcache_admin.engine import Configuration, ConfigurationError, Manager, StorageError
from lmcache_admin.internal_api_server import InternalAPIServer
from lmcache_admin.metrics_listener import metrics_port
from lmcache_admin.serving.address import AddressError, address
from lmcache_admin.settings import PolicyError, Settings, SettingsError

logger = logging.getLogger(__name__)

ROLES = (("scheduler", "scheduler"), ("worker 0", "worker"))
EXAMPLES = {
    "worker 0": (
        ("-X", "POST", "/cache/store?tokens_mock=0,512"),
        ("-X", "POST", "/cache/retrieve?tokens_mock=0,512"),
        ("/conf?names=chunk_size,max_local_cpu_size,local_disk",),
    ),
    "scheduler": (("/readyz",), ("/version",), ("/threads",)),
}


class CannotStart(click.ClickException):
    """The service could not start: one line, exit code 1."""

    exit_code = 1


class BadSetting(click.ClickException):
    """A setting cannot be used: one line, exit code 2."""

    exit_code = 2


@click.command("serve")
@click.option("--config", metavar="FILE", help="Settings file [LMCACHE_CONFIG_FILE, else the shipped lmcache.yaml].")
@click.option("--host", metavar="ADDRESS", help="Address to listen on.")
@click.option("--port-start", metavar="PORT", help="Port of the scheduler; worker 0 has the next.")
@click.option("--socket-prefix", metavar="PATH", help="Listen on the Unix sockets PATH_<port> instead of TCP.")
@click.option("--data", metavar="FOLDER", help="Folder for chunks [~/.local/state/lmcache-admin].")
@click.option("--log-level", metavar="LEVEL", help="critical, error, warning, info, debug or trace.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", help="Form of the log on stderr.")
def command(
    config: str | None,
    host: str | None,
    port_start: str | None,
    socket_prefix: str | None,
    data: str | None,
    log_level: str | None,
    log_format: str,
) -> None:
    """Run the service with the embedded engine.

    Each flag overrides the key of its name in the settings file. SIGTERM and Ctrl-C end the service: it answers
    what it has begun, for at most 5 seconds. Exit codes: 0 ended, 1 could not start, 2 wrong use or a bad setting.
    """
    flags = {
        "host": host,
        "port_start": port_start,
        "socket_path_prefix": socket_prefix,
        "log_level": log_level,
    }
    try:
        folder = data_folder(data, os.environ)
        values = serve_values(config, flags, folder, os.environ)
        settings = _settings(values)
        start_logging(settings.log_level_number, log_format)
        managers = _managers(values)
    except PolicyError as error:
        raise CannotStart(str(error)) from None
    except (SettingsError, ConfigurationError, AddressError) as error:
        raise BadSetting(str(error)) from None
    with _signals() as signals, _running(managers) as servers:
        click.echo(_greeting(servers, settings, str(folder)))
        while signals.get() == signal.SIGHUP:
            logger.warning("SIGHUP: nothing to reopen; settings are read at a start only")


def _settings(values: Mapping[str, object]) -> Settings:
    settings = Settings.from_mapping(values)
    for offset in range(len(ROLES)):
        place = address(settings.port_start, offset, settings.socket_path_prefix, settings.include_index_list)
        if place.included and settings.metrics_host is not None:
            metrics_port(settings, offset)
    return settings


def _managers(values: Mapping[str, object]) -> list[tuple[str, Manager]]:
    configuration = Configuration.from_mapping(values)
    return [(name, Manager(configuration, role=role)) for name, role in ROLES]


@contextmanager
def _signals() -> Iterator[queue.SimpleQueue[int]]:
    """Collect the signals that end or renew the service; the queue may be filled from a signal handler."""
    received: queue.SimpleQueue[int] = queue.SimpleQueue()

    def receive(number: int, _: FrameType | None) -> None:
        received.put(number)

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _running(managers: Sequence[tuple[str, Manager]]) -> Iterator[dict[str, InternalAPIServer]]:
    """Start engines and servers, and stop what was started, servers first."""
    servers: dict[str, InternalAPIServer] = {}
    try:
        for name, manager in managers:
            manager.start()
            servers[name] = InternalAPIServer(manager)
            servers[name].start()
            if servers[name].error:
                raise _already_said(f"{name}: {servers[name].error}")
        if not any(server.enable for server in servers.values()):
            raise BadSetting("internal_api_server_include_index_list names neither 0 (scheduler) nor 1 (worker 0)")
        yield servers
    except (StorageError, OSError) as error:
        raise CannotStart(str(error)) from None
    finally:
        with ThreadPoolExecutor(len(managers)) as pool:  # side by side: each may drain for 5 s
            list(pool.map(InternalAPIServer.stop, servers.values()))
        for _, manager in managers:
            manager.stop()


def _already_said(why: str) -> Exception:
    """The end of a start that failed; the server has logged why, unless the log leaves errors out."""
    if logging.getLogger(InternalAPIServer.__module__).isEnabledFor(logging.ERROR):
        return click.exceptions.Exit(CannotStart.exit_code)
    return CannotStart(why)


def _greeting(servers: Mapping[str, InternalAPIServer], settings: Settings, folder: str) -> str:
    listening = {name: server for name, server in servers.items() if server.enable}
    lines = [f"{name:<10} {_where(server, settings)}" for name, server in listening.items()]
    name = "worker 0" if "worker 0" in listening else "scheduler"
    tries = [f"  {_curl(listening[name], settings, parts)}" for parts in EXAMPLES[name]]
    return "\n".join([*lines, f"data       {folder}", "", "Try next:", *tries, "", "Ctrl-C ends it."])


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
