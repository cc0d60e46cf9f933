"""The settings of the service: every key declared once, read once at start, frozen."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

from lmcache_admin import settings_addresses as addresses
from lmcache_admin import settings_values as kinds
from lmcache_admin.secrecy import mask_secrets
from lmcache_admin.settings_error import PolicyError, SettingsError
from lmcache_admin.settings_keys import (
    PREFIX,
    Key,
    extra_config,
    read_text,
    read_value,
    refuse_unknown,
    warn_of_unknown,
)
from lmcache_admin.settings_policy import check_policy
from lmcache_admin.settings_values import Kind

__all__ = ["PREFIX", "PolicyError", "Settings", "SettingsError", "settings_keys"]

T = TypeVar("T")

_NOBODY: Mapping[str, str] = MappingProxyType({})
_THREADS = MappingProxyType({"light": 2, "read": 8, "change": 4, "job": 4})
_QUEUES = MappingProxyType({"light": 64, "read": 64, "change": 16, "job": 16})
_DEADLINES = MappingProxyType({"light": 5.0, "read": 5.0, "change": 60.0, "job": 300.0})


def _key(default: T, kind: Kind[T], meaning: str, *, unit: str = "", top: bool = False, name: str = "") -> T:
    """Declare a setting; mypy holds default and kind to the annotation of the field."""
    about = {"kind": kind, "meaning": meaning, "unit": unit, "top": top, "name": name, "default": default}
    field: T = dataclasses.field(default_factory=lambda: default, metadata=about)
    return field


@dataclass(frozen=True, repr=False)
class Settings:
    """What one server was told. Made by `from_host` or `from_mapping`; the fields are the declaration."""

    enabled: bool = _key(False, kinds.BOOLEAN, "start the server at all", top=True)
    host: str = _key("127.0.0.1", addresses.ADDRESS, "address of the TCP listener", top=True)
    port_start: int = _key(6999, kinds.PORT, "port of the scheduler; worker N listens on this + 1 + N", top=True)
    include_index_list: tuple[int, ...] | None = _key(
        None, kinds.INDEX_LIST, "only these indexes start (0 scheduler, 1 + N worker N); empty: all", top=True
    )
    socket_path_prefix: str | None = _key(
        None, kinds.SOCKET_PREFIX, "listen on the Unix socket `<prefix>_<port>` instead of TCP", top=True
    )
    script_allowed_imports: tuple[str, ...] = _key(
        (), kinds.NAMES, "modules that a script may import", top=True, name="script_allowed_imports"
    )
    run_script_api_enabled: bool = _key(
        False, kinds.BOOLEAN, "serve `POST /run_script` (no sandbox)", top=True, name="run_script_api_enabled"
    )
    run_script_mode: str = _key(
        "in_process",
        kinds.choice("in_process", "process"),
        "where a script runs: `in_process`, which is no sandbox, or in a `process` of its own that is fenced in",
    )
    auth: str = _key(
        "local",
        kinds.choice("local", "token", "proxy", "off"),
        "who may call: `local` asks the kernel for the caller's user, `token` for a token, `proxy` believes a proxy",
    )
    allow_insecure: bool = _key(False, kinds.BOOLEAN, "let `auth: off` listen beyond loopback")
    local_users: str = _key(
        "own",
        kinds.choice("own", "any"),
        "whose changes `auth: local` accepts: own user and root, or any user",
    )
    token_file: str | None = _key(None, kinds.OPTIONAL_PATH, "tokens and their roles, for `auth: token`")
    user_file: str | None = _key(None, kinds.OPTIONAL_PATH, "users and their roles, who log in for a session")
    session_key_file: str | None = _key(
        None, kinds.OPTIONAL_PATH, "key that signs sessions, made at the first start; null: a new one at each start"
    )
    trusted_proxy: tuple[str, ...] = _key(
        (),
        addresses.PROXIES,
        "whose `X-Forwarded-For`, `-Proto` and `-Prefix` count, and with `auth: proxy` the two below",
    )
    proxy_user_header: str | None = _key(None, addresses.HEADER_NAME, "header that names the user, for `auth: proxy`")
    proxy_role_header: str | None = _key(None, addresses.HEADER_NAME, "header that names the role, for `auth: proxy`")
    socket_users: Mapping[str, str] = _key(_NOBODY, kinds.ROLE_MAP, "user on the Unix socket -> role")
    socket_groups: Mapping[str, str] = _key(_NOBODY, kinds.ROLE_MAP, "group on the Unix socket -> role")
    metrics_open: bool = _key(False, kinds.BOOLEAN, "answer `/metrics` without credentials")
    allowed_hosts: tuple[str, ...] = _key((), addresses.HOST_NAMES, "names that Host may have besides loopback")
    allowed_origins: tuple[str, ...] = _key(
        (), addresses.ORIGINS, "origins of other sites whose pages may read, and with a token also change"
    )
    socket_mode: int = _key(0o600, kinds.MODE, "file mode of the Unix socket")
    read_only: bool = _key(False, kinds.BOOLEAN, "refuse every change, whoever asks")
    audit_file: str | None = _key(None, kinds.OPTIONAL_PATH, "where changes are recorded; null: in memory only")
    audit_required: bool = _key(True, kinds.BOOLEAN, "refuse a change whose intent `audit_file` does not take")
    audit_max_bytes: int = _key(64 * 1024 * 1024, kinds.AUDIT_BYTES, "size from which it is rotated", unit="bytes")
    audit_keep: int = _key(10, kinds.AUDIT_KEEP, "rotated files that are kept", unit="files")
    redact_patterns: tuple[str, ...] = _key(
        (), kinds.PATTERNS, "further secrets: what matches, from the beginning of a word to the end of one, is masked"
    )
    config_folders: tuple[str, ...] = _key(
        (),
        kinds.FOLDERS,
        "folders that `config_path` of a request may name; empty: that of the settings file",
    )
    replace: bool = _key(True, kinds.BOOLEAN, "take the place of LMCache's own server; false: LMCache's stays")
    access_log: bool = _key(True, kinds.BOOLEAN, "one line per request, when log_level is info or lower")
    log_level: str = _key(
        "warning",
        kinds.choice("critical", "error", "warning", "info", "debug", "trace"),
        "level of the server's own loggers",
    )
    lane_threads: Mapping[str, int] = _key(
        _THREADS, kinds.lanes_of_integers(1, 256, _THREADS), "threads of each lane", unit="threads"
    )
    lane_queues: Mapping[str, int] = _key(
        _QUEUES,
        kinds.lanes_of_integers(0, 10_000, _QUEUES),
        "requests that may wait in a lane",
        unit="requests",
    )
    deadlines: Mapping[str, float] = _key(
        _DEADLINES,
        kinds.lanes_of_seconds(0.01, 86_400, _DEADLINES),
        "when a request gets 504",
        unit="seconds",
    )
    blueprint_paths: tuple[str, ...] = _key((), kinds.FOLDERS, "more folders of category folders with `*_api.py` files")
    metrics_host: str | None = _key(
        None,
        addresses.OPTIONAL_ADDRESS,
        "address of a second listener: /metrics, /healthz, /readyz, nothing else",
    )
    metrics_port_start: int = _key(6899, kinds.PORT, "port of that listener for the scheduler; worker N: this + 1 + N")

    @property
    def log_level_number(self) -> int:
        """`log_level` as the logging module counts; `trace`, which it has no name for, is 5."""
        return 5 if self.log_level == "trace" else int(getattr(logging, self.log_level.upper()))

    @classmethod
    def from_host(cls, config: object, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read the settings of a host: LMCache's configuration, the embedded engine's, or any namespace.

        Args:
            config: Object with the top-level keys as attributes and `extra_config`; what is absent or None
                has its default.
            environ: The environment. LMCache has applied it to its own keys (and after it what vLLM's
                connector overrides), so there it counts for ours under `extra_config` only.

        Raises:
            SettingsError: A value or the policy forbids the start.
        """
        values = {key.name: getattr(config, key.name, None) for key in settings_keys() if key.top}
        extra = getattr(config, "extra_config", None)
        applied = callable(getattr(config, "update_config_from_env", None))  # LMCache's class names no module
        return cls._read(values, extra, environ, applied=applied)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Settings:
        """Read the settings from a parsed file; keys that are not ours are the engine's and pass.

        Raises:
            SettingsError: A value, an unknown or misplaced key of ours, or the policy forbids the start.
        """
        refuse_unknown(values, settings_keys(), top=True)
        return cls._read(values, values.get("extra_config"), environ, applied=False)

    @classmethod
    def _read(cls, values: Mapping[str, Any], extra: object, environ: Mapping[str, str], *, applied: bool) -> Settings:
        keys = settings_keys()
        extra = extra_config(extra, {} if applied else environ)
        refuse_unknown(extra, keys, top=False)
        warn_of_unknown(environ, keys)
        read: dict[str, Any] = {}
        for key in keys:
            text = None if key.top and applied else environ.get(key.variable)
            place = values if key.top else extra
            read[key.field] = read_text(key, text) if text else read_value(key, place.get(key.name))
        if not read["config_folders"] and environ.get("LMCACHE_CONFIG_FILE"):
            read["config_folders"] = (os.path.dirname(os.path.abspath(environ["LMCACHE_CONFIG_FILE"])),)
        settings = cls(**read)
        if settings.enabled:
            check_policy(settings)
        return settings

    def __repr__(self) -> str:
        fields = [f"{key.field}={mask_secrets(repr(getattr(self, key.field)))}" for key in settings_keys()]
        return f"Settings({', '.join(fields)})"

    def __post_init__(self) -> None:
        for key in settings_keys():  # whoever makes one by hand gets the same checks
            object.__setattr__(self, key.field, read_value(key, getattr(self, key.field)))


@functools.cache
def settings_keys() -> tuple[Key, ...]:
    """All settings in the order of their declaration."""
    keys = []
    for field in dataclasses.fields(Settings):
        about = dict(field.metadata)
        about["name"] = about["name"] or PREFIX + field.name
        keys.append(Key(field=field.name, **about))
    return tuple(keys)
