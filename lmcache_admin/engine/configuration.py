"""The embedded engine's configuration: LMCache's keys and defaults, from a file and the environment."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from lmcache_admin.engine.errors import ConfigurationError
from lmcache_admin.engine.keys import FORMER_NAMES, KEYS
from lmcache_admin.engine.kinds import Kind
from lmcache_admin.engine.lookup.place import lookup_folder
from lmcache_admin.engine.shape import CacheShape
from lmcache_admin.engine.statistics import StatisticsOptions

logger = logging.getLogger(__name__)

KINDS: dict[str, Kind] = {name: kind for name, kind, _ in KEYS}
DEFAULTS: dict[str, object] = {name: default for name, _, default in KEYS}
POLICIES = ("LRU", "LFU", "FIFO", "MRU")

MAX_GB = 1_000_000_000  # an exabyte; of a size near the largest float the bytes would be infinite
_SIZE: tuple[Callable[[Any], bool], str] = (lambda value: 0 <= value <= MAX_GB, f"a size in GB from 0 to {MAX_GB}")

# What this engine can work with; LMCache's own limits are wider here and there.
LIMITS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "chunk_size": (lambda value: value >= 1, "a whole number of tokens from 1"),
    "max_local_cpu_size": _SIZE,
    "max_local_disk_size": _SIZE,
    "lookup_timeout_ms": (lambda value: 1 <= value <= 600_000, "milliseconds from 1 to 600000"),
    "min_retrieve_tokens": (lambda value: value >= 0, "a whole number of tokens from 0"),
    "cache_policy": (lambda value: value.upper() in POLICIES, f"one of {', '.join(POLICIES)}"),
    "pre_caching_hash_algorithm": (lambda value: value == "builtin", "builtin"),
}


class Configuration:
    """Every engine key as an attribute, settable while the engine runs.

    The engine reads `save_unfull_chunk`, `store_location` and `retrieve_locations` at each call, sizes,
    folders and policy when a backend is made, and `chunk_size` and the KV cache's shape once, at start.
    """

    _config_definitions: ClassVar[dict[str, dict[str, Any]]] = {
        name: {"type": kind.type, "default": default, "env_converter": kind.convert}
        for name, kind, default in KEYS
    }

    chunk_size: int
    max_local_cpu_size: float
    local_cpu: bool
    local_disk: str | None
    max_local_disk_size: float
    remote_url: str | None
    remote_serde: str | None
    retrieve_locations: list[str] | None
    store_location: str | None
    lmcache_instance_id: str
    lookup_timeout_ms: int
    lookup_server_worker_ids: list[int] | None
    external_lookup_client: str | None
    hit_miss_ratio: float | None
    enable_chunk_statistics: bool
    chunk_statistics_auto_start_statistics: bool
    extra_config: dict[str, Any] | None
    save_unfull_chunk: bool
    blocking_timeout_secs: int
    cache_policy: str

    def __init__(self, values: Mapping[str, object] | None = None) -> None:
        """Set defaults, then the given converted values."""
        for name, default in {**DEFAULTS, **(values or {})}.items():
            setattr(self, name, default)
        if not self.lmcache_instance_id:
            self.lmcache_instance_id = f"lmcache_admin_{uuid.uuid4().hex}"

    @classmethod
    def from_mapping(
        cls, values: Mapping[str, object], environ: Mapping[str, str] = os.environ
    ) -> Configuration:
        """Build from a parsed file and the environment, whose `LMCACHE_<KEY>` wins.

        Unknown keys of the file are left out with one warning, as LMCache does.

        Raises:
            ConfigurationError: A value that its key does not allow.
        """
        known = _known(values)
        converted: dict[str, object] = {}
        for name in KINDS:
            variable = f"LMCACHE_{name.upper()}"
            if variable in environ:
                converted[name] = _converted(name, _unquoted(environ[variable]), variable)
            elif known.get(name) is not None:
                converted[name] = _converted(name, known[name])
        configuration = cls(converted)
        CacheShape.from_configuration(configuration)  # refuses bad keys of ours before anything starts
        lookup_folder(configuration.extra_config)
        if configuration.enable_chunk_statistics:
            StatisticsOptions.of(configuration, configuration.chunk_size)
        return configuration

    def get_extra_config_value(self, key: str, default: Any = None) -> Any:
        """The value of a key under `extra_config`, else the default."""
        extra = self.extra_config
        return extra.get(key, default) if isinstance(extra, dict) else default

    def to_dict(self) -> dict[str, Any]:
        """Every key with its present value, in definition order."""
        return {name: getattr(self, name) for name in KINDS}


def allowed_value(configuration: Configuration, key: str) -> Any:
    """The value of a key of `LIMITS`, which may have been set to anything since the start; null is the default.

    Raises:
        ConfigurationError: This engine cannot work with it.
    """
    value = getattr(configuration, key)
    holds, allowed = LIMITS[key]
    if value is None:
        return DEFAULTS[key]
    if not holds(value):
        raise ConfigurationError(key, value, allowed)
    return value


def _known(values: Mapping[str, object]) -> dict[str, object]:
    renamed = {FORMER_NAMES.get(name, name): value for name, value in values.items()}
    unknown = sorted(repr(name) for name in renamed if name not in KINDS)
    if unknown:
        logger.warning("Unknown configuration keys are ignored: %s", ", ".join(unknown))
    return {name: value for name, value in renamed.items() if name in KINDS}


def _unquoted(text: str) -> str:
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text


def _converted(name: str, value: object, variable: str = "") -> object:
    kind = KINDS[name]
    holds, allowed = LIMITS.get(name, (lambda _: True, kind.allowed))
    try:
        fits = kind.fits(value)
        converted: object = kind.convert(value)
        fits = fits and converted == converted and holds(converted)  # the middle refuses NaN
    except (ValueError, TypeError, OverflowError) as error:
        raise ConfigurationError(name, value, allowed, variable) from error
    if not fits:
        raise ConfigurationError(name, value, allowed, variable)
    return converted
