"""One redactor for everything that leaves the process as text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from lmcache_admin.secrecy import MASK, is_secret, is_secret_name, mask_secrets
from lmcache_admin.security.extra_patterns import anchored

__all__ = ["MASK", "Redactor", "is_secret_name"]

#: What becomes of a value that JSON has no form for, under its name.
Foreign = Callable[[object, str], object]

#: Letters of the longest text, and of the largest answer, that are looked through: a million takes up to a second.
LONGEST, MOST = 2**20, 2**22
_ITEM = 4  # letters that an item of a list or object counts as

_LINE = 512  # letters of a line that is remembered
_REMEMBERED = 256  # letters of a text and its name


class Redactor:
    """Masks secrets in structures and in text.

    Args:
        patterns: Further patterns that have been checked; what they match is masked.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self.patterns = tuple(patterns)
        self._extra = [re.compile(anchored(pattern)) for pattern in self.patterns]

        #: `mask_text` for texts that come again and again, such as the lines of stacks.
        self._remembered_line = lru_cache(maxsize=8192)(self.mask_text)
        #: What became of a short text under a name: settings and metadata are asked for again and again.
        self._remembered = lru_cache(maxsize=4096)(self._mask_named)

    def mask_line(self, text: str) -> str:
        """As `mask_text`, for lines that come again and again; what clients send must not fill the memory."""
        return self._remembered_line(text) if len(text) <= _LINE else self.mask_text(text)

    def mask(self, value: Any, key: str = "") -> Any:
        """Return `value` with every secret as `******`; keys and types stay. What fails is masked whole."""
        try:
            return self._mask(value, key, self._mask_printed)
        except Exception:  # noqa: BLE001 - whatever goes wrong here, the raw value must not leave
            return MASK

    def mask_answer(self, body: Any, printed: bool) -> Any:
        """Return a view's result with its secrets masked.

        Args:
            body: What the view returned.
            printed: Whether values that JSON has no form for are printed; else they are left, and refused later.

        Raises:
            Exception: It is too large, or cannot be masked; a mask in its place would be an answer of its own.
        """
        if _is_too_large(body):
            raise ValueError(f"the answer is too large to be masked: it has more than {MOST} letters")
        return self._mask(body, "", self._mask_printed if printed else _left)

    def mask_text(self, text: str) -> str:
        """Return `text` with the secrets inside it masked, also those in JSON that it holds; a huge one is masked."""
        if len(text) > LONGEST:
            return MASK
        try:
            return self._mask_text(text)
        except Exception:  # noqa: BLE001 - as above
            return MASK

    def _mask(self, value: Any, key: str, foreign: Foreign) -> Any:
        if value is None or value is True or value is False:
            return value
        if isinstance(value, (int, float)):
            return self._mask_number(value, key)
        if isinstance(value, str):
            return self._mask_string(_text_of(value), key)
        if isinstance(value, Mapping):
            return self._mask_mapping(value, key, foreign)
        if isinstance(value, (list, tuple, set, frozenset)):
            return self._mask_items(list(value), key, foreign)
        return foreign(value, key)

    def _mask_number(self, value: float, key: str) -> float | str:
        named = is_secret_name(key) and is_secret(key, _text_of(value))
        return MASK if named or (self._extra and self._matches(_text_of(value))) else value

    def _matches(self, text: str) -> bool:
        return any(pattern.search(text) for pattern in self._extra)

    def _mask_printed(self, value: object, key: str) -> str:
        return self._mask_named(_text_of(value), key)

    def _mask_string(self, text: str, key: str) -> str:
        short = len(text) + len(key) <= _REMEMBERED  # what clients send must not fill the memory
        return self._remembered(text, key) if short else self._mask_named(text, key)

    def _mask_named(self, text: str, key: str) -> str:
        return MASK if len(text) > LONGEST or is_secret(key, text) else self._mask_text(text)

    def _mask_mapping(self, value: Mapping[Any, Any], key: str, foreign: Foreign) -> dict[Any, Any]:
        """Mask each value by its name; everything below a secret name is secret."""
        label = value.get("name", value.get("key"))
        named = isinstance(label, str) and is_secret_name(label)
        secret = is_secret_name(key)
        masked = {}
        for name, item in value.items():
            below = key if secret else str(name)
            if named and name == "value":
                below = label
            masked[self._mask_string(name, "") if isinstance(name, str) else name] = self._mask(item, below, foreign)
        return masked

    def _mask_items(self, items: list[Any], key: str, foreign: Foreign) -> list[Any]:
        """Mask a list: under its key, as name and value (`["X-Api-Key", ...]`), or as the words of a command."""
        command = any(isinstance(item, str) and item[:1] == "-" for item in items)
        if not command and len(items) != 2:
            return [self._mask(item, key, foreign) for item in items]
        masked = []
        for before, item in zip(["", *items[:-1]], items, strict=True):
            named = isinstance(before, str) and (before[:1] == "-" or len(items) == 2) and is_secret_name(before)
            masked.append(self._mask(item, before if named and not is_secret_name(key) else key, foreign))
        return self._mask_command(masked) if command else masked

    def _mask_command(self, words: list[Any]) -> list[Any]:
        """Mask what only the whole command shows, such as the word behind `redis-cli -a`."""
        texts = [word for word in words if isinstance(word, str)]
        masked = mask_secrets("\n".join(texts)).split("\n")
        if len(masked) != len(texts):
            return words
        left = iter(masked)
        return [next(left) if isinstance(word, str) else word for word in words]

    def _mask_text(self, text: str) -> str:
        if text.lstrip()[:1] in ("{", "[", '"') and (inner := _as_json(text)) is not None:
            masked = self._mask(inner, "", _left)
            if masked != inner:
                return json.dumps(masked)
        text = mask_secrets(text)
        for pattern in self._extra:
            text = pattern.sub(MASK, text)
        return text


def _is_too_large(body: Any) -> bool:
    left, found = MOST, [body]
    while found:
        item = found.pop()
        if isinstance(item, str):
            left -= len(item)
        elif isinstance(item, (Mapping, list, tuple, set, frozenset)):
            left -= _ITEM * len(item)
            if left >= 0:
                found += item
                found += item.values() if isinstance(item, Mapping) else ()
        if left < 0:
            return True
    return False


def _left(value: object, _: str) -> object:
    return value


def _text_of(value: object) -> str:
    """What the encoders print for a value that JSON has no form for; one that cannot be printed is masked."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a host's object may raise anything here; the rest of the answer is still good
        return MASK


def _as_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
