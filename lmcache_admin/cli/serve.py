"""`lmcache-admin serve`: the service with the embedded engine, a scheduler and a worker in one process."""

from __future__ import annotations

import click

from lmcache_admin.cli.signals import taken


@click.command("serve")
@click.option("--config", metavar="FILE", help="Settings file [LMCACHE_CONFIG_FILE, else the shipped lmcache.yaml].")
@click.option("--host", metavar="ADDRESS", help="Address to listen on.")
@click.option("--port-start", metavar="PORT", help="Port of the scheduler; worker 0 has the next.")
@click.option("--socket-prefix", metavar="PATH", help="Listen on the Unix sockets PATH_<port> instead of TCP.")
@click.option("--data", metavar="FOLDER", help="Folder for chunks, audit, tokens [~/.local/state/lmcache-admin].")
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
    with taken() as signals:
        from lmcache_admin.cli.serve_process import run  # most of the start: the signals are to be taken before it

        run(signals, config, flags, data, log_format)
