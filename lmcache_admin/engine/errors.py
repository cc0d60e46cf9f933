"""What can go wrong in the embedded engine, each with one line that says what to do about it."""

from __future__ import annotations

from lmcache_admin.secrecy import mask_secrets


class ConfigurationError(ValueError):
    """A configuration value that cannot be used.

    Args:
        key: The key as it stands in the file.
        value: The refused value.
        allowed: What is allowed, in words.
        variable: The environment variable that the value came from, if not from the file.
    """

    def __init__(self, key: str, value: object, allowed: str, variable: str = "") -> None:
        self.key = key
        self.value = value
        self.allowed = allowed
        super().__init__(f"{variable or key}: {_shown(key, value)} is not allowed; allowed: {allowed}")


class StorageError(Exception):
    """A backend that could not be made or closed."""


class ChunkFileError(Exception):
    """A chunk file that cannot be served."""


class CorruptChunkError(ChunkFileError):
    """The file's own checksums or lengths contradict it."""


class UnsuitableChunkError(ChunkFileError):
    """The chunk is another's: of another layout, form or length than this engine's."""


class NewerFormatError(ChunkFileError):
    """A later version of this program wrote the file."""


def _shown(key: str, value: object) -> str:
    # may hold secrets; a text that is no JSON, or a list of URLs, cannot be redacted part by part
    if key in ("extra_config", "remote_url"):
        return f"a {type(value).__name__}"
    text = mask_secrets(repr(value))
    return text if len(text) <= 100 else f"{text[:97]}..."
