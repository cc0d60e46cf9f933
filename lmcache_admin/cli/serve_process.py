"""The process of `serve`: settings, engines and servers, until a signal ends it."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import click

from lmcache_admin.cli.log_output import start_logging
from lmcache_admin.cli.serve_greeting import greeting
from lmcache_admin.cli.serve_settings import DataFolderError, data_folder, engine_configuration, keep_in, serve_values
from lmcache_admin.cli.signals import Signals
from lmcache_admin.engine import ConfigurationError, Manager, StorageError
from lmcache_admin.internal_api_server import InternalAPIServer
from lmcache_admin.metrics_listener import metrics_port
from lmcache_admin.security import Redactor, check_patterns
from lmcache_admin.serving.address import AddressError, address
from lmcache_admin.settings import PolicyError, Settings, SettingsError

__all__ = ["run"]

logger = logging.getLogger(__name__)

ROLES = (("scheduler", "scheduler"), ("worker 0", "worker"))


class CannotStart(click.ClickException):
    """The service could not start: one line, exit code 1."""

    exit_code = 1


class BadSetting(click.ClickException):
    """A setting cannot be used: one line, exit code 2."""

    exit_code = 2


def run(signals: Signals, config: str | None, flags: Mapping[str, object], data: str | None, log_format: str) -> None:
    """Serve until a signal ends it.

    Args:
        signals: What has been received, and will be.
        config: The settings file, if one was named.
        flags: Field of Settings to value; None where the flag was not given.
        data: The data folder, if one was named.
        log_format: `text` or `json`.

    Raises:
        CannotStart: The machine or the policy does not let it.
        BadSetting: A setting cannot be used; nothing was started.
    """
    try:
        folder = data_folder(data, os.environ)
        values = serve_values(config, flags, os.environ)
        keep_in(folder, values, os.environ)
        settings = _settings(values)
        check_patterns(settings.redact_patterns)
        start_logging(settings.log_level_number, log_format, Redactor(settings.redact_patterns))
        configuration = engine_configuration(values, folder, os.environ)
        managers = [(name, Manager(configuration, role=role)) for name, role in ROLES]
    except (PolicyError, DataFolderError) as error:
        raise CannotStart(str(error)) from None
    except (SettingsError, ConfigurationError, AddressError) as error:
        raise BadSetting(str(error)) from None
    signals.hold()
    with _running(managers) as servers:
        click.echo(greeting(servers, settings, configuration, folder))
        while signals.next() == signal.SIGHUP:
            logger.warning("SIGHUP: nothing to reopen; settings are read at a start only")


def _settings(values: Mapping[str, object]) -> Settings:
    settings = Settings.from_mapping(values)
    included = []
    for offset in range(len(ROLES)):
        place = address(settings.port_start, offset, settings.socket_path_prefix, settings.include_index_list)
        included.append(place.included)
        if place.included and settings.metrics_host is not None:
            metrics_port(settings, offset)
    if not any(included):
        raise BadSetting("internal_api_server_include_index_list names neither 0 (scheduler) nor 1 (worker 0)")
    return settings


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
