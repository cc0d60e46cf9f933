"""The failure of a setting: one line with key, value and what is allowed, and no secret in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lmcache_admin.secrecy import MASK, is_secret, is_secret_name, mask_secrets

__all__ = ["PolicyError", "SettingsError", "shown"]

_LONGEST = 200


class SettingsError(ValueError):
    """A setting that cannot be used.

    Args:
        key: Name of the setting, as it stands in the file.
        value: What was given; secrets in it do not reach the text.
        allowed: What is allowed, as the end of a sentence.
        reason: Why the value is not, where the rule alone does not tell.
        source: Where the value came from if not from the file, e.g. an environment variable.
    """

    def __init__(self, key: str, value: object, allowed: str, *, reason: str = "", source: str = "") -> None:
        self.key, self.value, self.allowed, self.reason, self.source = key, value, allowed, reason, source
        place = one_line(key)[:_LONGEST] + (f" (from {source})" if source else "")
        why = f" ({one_line(reason)})" if reason else ""
        super().__init__(f"{place}: {shown(value, key)} is not allowed{why}; allowed: {allowed}")

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuilt, (type(self), self.key, self.value, self.allowed, self.reason, self.source))


class PolicyError(SettingsError):
    """Settings that are each allowed and together would let strangers in: nothing starts."""


def _rebuilt(
    kind: type[SettingsError], key: str, value: object, allowed: str, reason: str, source: str
) -> SettingsError:
    return kind(key, value, allowed, reason=reason, source=source)


def one_line(text: str) -> str:
    """Put a text of somebody else's on one line, without secrets and control characters."""
    return "".join(sign if sign.isprintable() else " " for sign in " ".join(mask_secrets(text).split()))


def shown(value: object, key: str = "") -> str:
    """Write a value as an error shows it: its repr on one line, shortened, secrets masked."""
    text = one_line(repr(_masked(value, key)))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text)} characters)"


def _masked(value: object, key: str, depth: int = 0) -> object:
    if depth > 8:
        return "..."
    if isinstance(value, str | bytes) or not isinstance(value, Mapping | Sequence):
        return MASK if is_secret(key, str(value)) else value
    if is_secret_name(key):
        return MASK
    if isinstance(value, Mapping):
        return {name: _masked(item, str(name), depth + 1) for name, item in value.items()}
    return [_masked(item, key, depth + 1) for item in value]
