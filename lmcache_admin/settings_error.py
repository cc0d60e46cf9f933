"""The failure of a setting: one line with key, value and what is allowed, and no secret in it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

__all__ = ["PolicyError", "SettingsError", "shown"]

_SECRET_NAME = re.compile(r"pass(word|wd|phrase)|token|secret|credential|api_?key|private_?key", re.IGNORECASE)
_SECRET_TEXT = (
    (re.compile(r"://[^\s'\"]*@"), "://******@"),
    (
        re.compile(r"((?:password|passwd|token|secret|api_?key)\W{1,3})[^\s&,;'\"]+", re.IGNORECASE),
        r"\1******",
    ),
)
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
    for pattern, replacement in _SECRET_TEXT:
        text = pattern.sub(replacement, text)
    return "".join(sign if sign.isprintable() else " " for sign in " ".join(text.split()))


def shown(value: object, key: str = "") -> str:
    """Write a value as an error shows it: its repr on one line, shortened, secrets masked."""
    text = one_line(repr(_masked(value, key)))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text)} characters)"


def _masked(value: object, key: str, depth: int = 0) -> object:
    if _SECRET_NAME.search(key) and value is not None and not isinstance(value, bool):
        return "******"
    if depth > 8:
        return "..."
    if isinstance(value, Mapping):
        return {name: _masked(item, str(name), depth + 1) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_masked(item, key, depth + 1) for item in value]
    return value
