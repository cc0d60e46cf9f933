"""From the configuration's `remote_url` to a store."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from lmcache_admin.engine.chunks import Layout
from lmcache_admin.engine.configuration import Configuration
from lmcache_admin.engine.errors import StorageError
from lmcache_admin.engine.kinds import to_bool
from lmcache_admin.engine.remote.address import FOLDERS, OBJECTS, SINGLE_ENTRY, Address
from lmcache_admin.engine.remote.codec import DTYPE_NUMBERS, Form
from lmcache_admin.engine.remote.folders import FolderStore
from lmcache_admin.engine.remote.objects import Objects, ObjectStore
from lmcache_admin.engine.remote.protocol import Store

CONNECT_TIMEOUT = 2.0
READ_TIMEOUT = 3.0


def open_store(config: Configuration, layout: Layout | None, *, writable: bool = True) -> Store:
    """Open the store that `remote_url` names; whether a server answers shows when it is asked.

    Args:
        config: The configuration.
        layout: How the engine's chunks lie; None takes any, where headers tell.
        writable: Whether folders that are absent are made; without, a missing one shows at the first read.

    Raises:
        StorageError: The URL, or a key beside it, cannot be used, a folder cannot be made, or an optional
            package is missing.
    """
    address = Address.parse(config.remote_url)
    if config.remote_serde != "naive":
        raise StorageError(f"remote_serde: {config.remote_serde!r} is not supported with remote_url; supported: naive")
    form = _form(config, address, layout)
    if address.scheme in FOLDERS:
        return _open_folders(address, form, writable)
    if address.scheme in OBJECTS:
        return _open_objects(config, address, form)
    return _open_redis(config, address, form)


def _form(config: Configuration, address: Address, layout: Layout | None) -> Form:
    whole_only = address.scheme in (*SINGLE_ENTRY, *OBJECTS)
    with_headers = to_bool((config.extra_config or {}).get("save_chunk_meta", not whole_only))
    if whole_only and with_headers:
        raise StorageError(f"extra_config.save_chunk_meta: must be false for {address.scheme}://, as in LMCache")
    headers = with_headers or address.scheme not in (*FOLDERS, *SINGLE_ENTRY, *OBJECTS)
    if headers and layout is not None and layout.dtype not in DTYPE_NUMBERS:
        raise StorageError(
            f"remote_url: {address.scheme}:// keeps no chunks of element type {layout.dtype}: "
            "LMCache's chunk header has no number for it"
        )
    return Form(layout, headers, config.chunk_size, whole_only)


def _open_folders(address: Address, form: Form, writable: bool) -> Store:
    store = FolderStore(address.folders, form, address.place)
    if writable:
        try:
            store.make()
        except OSError as error:
            raise StorageError(f"remote_url: cannot make a folder of {address.place}: {error.strerror}") from error
    return store


def _open_objects(config: Configuration, address: Address, form: Form) -> Store:
    opening = _s3_objects if address.scheme == "s3" else _gs_objects
    return ObjectStore(opening(config, address), form, address.place, address.bucket.prefix)


def _gs_objects(config: Configuration, address: Address) -> Objects:
    bucket = address.bucket
    try:
        from lmcache_admin.engine.remote.gs import GSObjects
    except ImportError as error:
        raise _missing(address, "gcs") from error
    return GSObjects(bucket.name, sum(_timeouts(config)))


def _s3_objects(config: Configuration, address: Address) -> Objects:
    bucket = address.bucket
    try:
        from lmcache_admin.engine.remote.s3 import S3Objects
    except ImportError as error:
        raise _missing(address, "objects") from error
    extra = config.extra_config or {}
    login = {"key": extra.get("aws_access_key_id"), "secret": extra.get("aws_secret_access_key")}
    connecting, reading = _timeouts(config)
    return S3Objects(
        bucket,
        login={name: str(value) for name, value in login.items()} if all(login.values()) else {},
        region=str(extra["s3_region"]) if extra.get("s3_region") else None,
        encrypted=not to_bool(extra.get("disable_tls", False)),
        timeouts={"connect_timeout": connecting, "read_timeout": reading},
    )

def _open_redis(config: Configuration, address: Address, form: Form) -> Store:
    try:
        from lmcache_admin.engine.remote.redis_store import RedisStore, connect, settings_of
    except ImportError as error:
        raise _missing(address, "redis") from error
    extra = config.extra_config or {}
    lifetime = None
    try:
        if address.scheme in SINGLE_ENTRY:
            settings = _single_entry_settings(address, extra, settings_of)
            lifetime = _lifetime(address, extra)
        else:
            settings = settings_of(address.url)
    except ValueError as error:
        raise StorageError(f"remote_url: {address.place} cannot be read") from error
    connecting, reading = _timeouts(config)
    timeouts = {"socket_connect_timeout": connecting, "socket_timeout": reading}
    return RedisStore(connect(settings, timeouts), form, address.place, lifetime)


def _single_entry_settings(
    address: Address, extra: dict[str, Any], settings_of: Callable[[str], dict[str, Any]]
) -> dict[str, Any]:
    """Settings of valkey:// and resp://, whose user, password and database LMCache takes from `extra_config`."""
    prefix = "valkey_" if address.scheme == "valkey" else ""
    if str(extra.get("valkey_mode", "standalone")) == "cluster":
        raise StorageError("extra_config.valkey_mode: cluster is not supported; supported: standalone")
    if urlsplit(address.url).port is None:
        raise StorageError(f"remote_url: {address.place} names no port")
    scheme = "rediss" if address.scheme == "valkey" and to_bool(extra.get("tls_enable", False)) else "redis"
    settings = settings_of(f"{scheme}{address.url.removeprefix(address.scheme)}")
    for name in ("username", "password"):
        given = extra.get(f"{prefix}{name}") or (not prefix and os.environ.get(f"LMCACHE_RESP_{name.upper()}"))
        if given:
            settings[name] = str(given)
    if address.scheme == "valkey" and extra.get("valkey_database") is not None:
        settings["db"] = int(extra["valkey_database"])
    return settings


def _lifetime(address: Address, extra: dict[str, Any]) -> int | None:
    if address.scheme != "valkey" or not to_bool(extra.get("valkey_enable_ttl", False)):
        return None
    seconds = int(float(extra.get("valkey_ttl_sec", 86400)))
    if seconds < 1:
        raise StorageError(f"extra_config.valkey_ttl_sec: {seconds} is not allowed; allowed: seconds from 1")
    return seconds


def _timeouts(config: Configuration) -> tuple[float, float]:
    """Seconds to connect and to wait for bytes; LMCache's key for both can only shorten them."""
    longest = max(float(config.blocking_timeout_secs), 0.1)
    return min(CONNECT_TIMEOUT, longest), min(READ_TIMEOUT, longest)


def _missing(address: Address, extra: str) -> StorageError:
    return StorageError(
        f"remote_url: {address.scheme}:// needs a package that is not installed: pip install 'lmcache-admin[{extra}]'"
    )
