"""A program of somebody else's that embeds the service: what it is given has the types that it expects."""

from flask import Flask

import lmcache_admin
from lmcache_admin.engine import Configuration, Manager
from lmcache_admin.settings import Settings, SettingsError
from lmcache_admin.settings_file import load_settings_file


def serve(path: str) -> str | None:
    """Start a worker's server; returns why it could not be started."""
    try:
        values = load_settings_file(path)
        port: int = Settings.from_mapping(values).port_start
    except SettingsError as error:
        return f"{error.key}: {error.allowed}"
    manager = Manager(Configuration.from_mapping(values), role="worker")
    manager.start()
    server = lmcache_admin.InternalAPIServer(manager)
    server.start()
    server.stop()
    return server.error or (None if port else "no port")


def application() -> Flask:
    """What a WSGI server is given."""
    return lmcache_admin.create_app(Manager(Configuration.from_mapping({})))
