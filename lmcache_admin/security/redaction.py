"""One redactor for everything that leaves the process as text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

MASK = "******"

#: Words in a key that say its value is a secret; whole words, so that `tokens` and `key_count` stay readable.
_SECRET_WORDS = {
    *("password", "passwd", "passphrase", "pwd", "secret", "secrets", "token", "apikey", "authorization"),
    *("credential", "credentials", "cookie", "signature", "sig", "sas", "dsn"),
}
#: What a text must hold somewhere for one of its names to be a secret's.
_HINT = re.compile("pass|pwd|secret|token|key|auth|credential|cookie|sig|sas|dsn|conn|webhook|bearer", re.IGNORECASE)
#: Ends of words that are written together, such as PGPASSWORD.
_SECRET_ENDS = ("password", "passwd", "passphrase", "secret", "token", "apikey")
_SECRET_PAIRS = re.compile(
    r"(?:api|access|private|secret|signing|session|encryption|auth|account|shared|master|license|ssh|service)[_-]?key"
    r"|key[_-]?(?:data|base64|pem)|conn(?:ection)?[_-]?str(?:ing)?|client[_-]?secret|webhook[_-]?url|bearer"
)
#: Keys that hold one of the words above and still no secret.
_HARMLESS = re.compile(
    r"(?:num|max|min|chunk|hit|lookup|retrieve|store|total|prompt)[_-]?.*tokens?|tokens?[_-]?(?:mock|count|file|path|limit)|.*_token_id"
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

#: Secrets that are known by their own shape, wherever they stand.
_SHAPES = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\b(?:gh[pousr]_|github_pat_|glpat-|hf_|sk-|pk_live_|sk_live_|rk_live_|xox[abprs]-|lmca_|npm_|pypi-|dop_v1_|AIza|ya29\.|AKIA|ASIA|nvapi-|tskey-)[\w.-]{8,}"
    r"|(?<![\w-])eyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)?",
    re.DOTALL,
)
# Each expression begins with a look-behind, so that a long run of letters is walked over once and not once a letter:
# a match holds the interpreter's lock, and texts of clients come through here.
_URL_LOGIN = re.compile(r"(?<![\w+.-])(?P<scheme>[\w+.-]+://)(?P<user>[^\s/@:\"']*):(?P<password>[^\s/\"']+)@")
_SCHEME_WORD = re.compile(r"(?i)\b(?P<scheme>bearer|basic)\s+(?P<value>[\w.~+/=-]{8,})")
_LOGIN_OPTION = re.compile(r"(?<!\S)(?P<option>(?:-u|--user|--proxy-user)[\s=]+[^\s:]+:)\S+")
#: The beginning of `name=value`, `name: value`, `"name": "value"` and `--name value` inside a longer text.
_NAME = re.compile(r"(?<![\w.-])(?P<name>[\w.-]+)(?P<gap>[\"']?\s*[=:][ \t]*(?:\n[ \t]+(?:- )?)?|\s+)")
#: A value: a quoted text, a list or an object to its end or that of the line, else up to a blank or separator.
_VALUE = re.compile(
    r"\"(?:[^\"\\\n]|\\.)*(?:\"|$)|'(?:[^'\\\n]|\\.)*(?:'|$)|[\[{(][^\]})\n]*(?:[\]})]|$)|[^\s,;&\"'}\])]+",
    re.MULTILINE,
)


class Redactor:
    """Masks secrets in structures and in text.

    Args:
        patterns: Further expressions; what they match is masked.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._extra = [re.compile(pattern) for pattern in patterns]

        #: `mask_text` for texts that come again and again, such as the lines of stacks.
        self.mask_line = lru_cache(maxsize=8192)(self.mask_text)

    def mask(self, value: Any, key: str = "") -> Any:
        """Return `value` with every secret as `******`; keys and types stay. What fails is masked whole."""
        try:
            return self._mask(value, key)
        except Exception:  # noqa: BLE001 - whatever goes wrong here, the raw value must not leave
            return MASK

    def _mask(self, value: Any, key: str) -> Any:
        if isinstance(value, Mapping):
            return {name: self._mask(item, str(name)) for name, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self._mask(item, key) for item in value]
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if key and is_secret_name(key) and value not in ("", b""):
            return MASK
        return self.mask_text(_text_of(value))

    def mask_text(self, text: str) -> str:
        """Return `text` with the secrets inside it masked, also those in JSON that it holds."""
        if text[:1] in "{[" and (inner := _as_json(text)) is not None:
            masked = self._mask(inner, "")
            return text if masked == inner else json.dumps(masked)
        text = _SHAPES.sub(MASK, text)
        text = _URL_LOGIN.sub(rf"\g<scheme>\g<user>:{MASK}@", text)
        text = _SCHEME_WORD.sub(rf"\g<scheme> {MASK}", text)
        text = _LOGIN_OPTION.sub(rf"\g<option>{MASK}", text)
        if _HINT.search(text):
            text = _mask_pairs(text)
        for pattern in self._extra:
            text = pattern.sub(MASK, text)
        return text


def is_secret_name(name: str) -> bool:
    """Tell whether a key, variable or option of this name holds a secret."""
    lowered = name.lower()
    if _HARMLESS.fullmatch(lowered):
        return False
    words = {word.lower() for word in _WORD.findall(name)}
    joined = any(word.endswith(_SECRET_ENDS) for word in words)
    return joined or bool(words & _SECRET_WORDS) or bool(_SECRET_PAIRS.search(lowered))


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


def _mask_pairs(text: str) -> str:
    """Mask the values of secret names; a harmless name's value is searched too, for `error: password=x` holds one."""
    parts, at = [], 0
    while (match := _NAME.search(text, at)) is not None:
        value = _VALUE.match(text, match.end()) if _is_secret_pair(match) else None
        end = value.end() if value else match.end("name")
        parts.append(text[at : value.start() if value else end])
        if value:
            quote = value[0][0] if value[0][0] in "\"'" else ""
            parts.append(f"{quote}{MASK}{quote}")
        at = end
    return "".join(parts) + text[at:]


def _is_secret_pair(match: re.Match[str]) -> bool:
    name = match["name"]
    return (match["gap"].strip() != "" or name.startswith("--")) and is_secret_name(name.strip("-"))
