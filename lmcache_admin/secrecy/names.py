"""Which names say that their value is a secret; names are compared word by word, so `tokenizer` is no `token`."""

from __future__ import annotations

import re
from functools import lru_cache

#: Part of a word: whatever is built around these is a secret.
_STEMS = ("passw", "passphrase", "passcode", "secret", "apikey", "credential")
#: Words that make a name secret wherever they stand in it.
_ANYWHERE = {"pwd", "token", "cred", "creds", "authorization", "cookie", "cookies", "bearer", "jwt"}
#: Words that do so at the end: `HTTP_AUTH` holds a secret and `AUTH_MODE` does not.
_LAST = {
    *("auth", "oauth", "pw", "pin", "otp", "totp", "salt", "dsn", "sas", "sig", "signature", "csrf", "xsrf"),
    *("license", "licence", "private", "webhook", "webhooks", "sessionid", "jsessionid", "phpsessid"),
}
_LAST_PAIRS = {
    *(("session", "id"), ("webhook", "url"), ("webhook", "uri"), ("key", "data"), ("key", "base"), ("key", "pem")),
    *((connection, text) for connection in ("conn", "connection") for text in ("str", "string")),
}
#: Kinds of keys that open something, also before other words and in the plural (`ACCESS_KEY_ID`, `API_KEYS`).
_KEY_KINDS = {
    *("api", "access", "private", "secret", "signing", "encryption", "decryption", "auth", "account", "shared"),
    *("master", "license", "ssh", "service", "subscription", "aes", "rsa", "hmac", "fernet", "tls"),
}
#: What stands before `key` where it only means a place; a `..._KEY` of any other kind is taken for a secret.
_PLAIN_KEYS = {
    *("sort", "primary", "foreign", "partition", "group", "order", "index", "search", "map", "dict", "shard"),
    *("routing", "public", "event", "message", "field", "unique", "composite", "column", "join", "idempotency"),
    *("cache", "chunk", "block", "layer", "engine", "hash", "lookup", "object", "obj", "row", "ipc", "config", "meta"),
    *("encoded", "create", "temp", "affinity", "transfer", "track", "make", "batch", "section", "task", "normalized"),
    *("wire", "parse", "decode", "encode", "legacy", "l", "kv", "tensor", "tensors", "model", "env", "metric", "label"),
    *("node", "worker", "instance", "thread", "lock", "queue", "topic", "item", "entry", "any", "each", "str", "full"),
    *("hot", "arrow", "enter", "leader", "modifier", "compose", "locale", "tag", "bucket", "path", "prefix", "request"),
    *(
        "evict",
        "victim",
        "first",
        "last",
        "next",
        "prev",
        "start",
        "end",
        "query",
        "param",
        "option",
        "websocket",
        "self",
    ),
    *("set", "get", "has", "by", "is", "no", "not", "such", "per", "current", "found", "missing", "with"),
}
#: Tokens are what a model reads, too: in the plural only these are secrets.
_SECRET_TOKENS = {
    *("api", "access", "auth", "bearer", "refresh", "admin", "session", "user", "service", "client", "private"),
    *("valid", "allowed", "known", "static", "trusted", "deploy", "bot"),
}
#: Before `token`: a number there is a count, a position or an entry of the vocabulary; no text is.
_COUNTED = {
    *("num", "max", "min", "total", "per", "first", "last", "next", "start", "end", "prompt", "output", "input"),
    *("chunk", "hit", "lookup", "retrieve", "store", "eos", "bos", "pad", "unk", "sep", "cls", "mask", "stop"),
}
#: Behind `token`: it is one that a model reads.
_OF_TEXT = {
    *("ids", "database", "dim", "start", "end", "offset", "offsets", "hasher", "chunks", "major", "mask", "num"),
    *("time", "index", "position", "range", "block", "blocks"),
}
_PLAIN_PASSES = {"forward", "backward", "first", "second", "single", "one", "two", "multi", "low", "high", "band"}
#: At the end of a name: it tells something about the secret, such as its file or its age, and does not hold it.
_ABOUT = {
    *("file", "filename", "path", "paths", "dir", "directory", "folder", "count", "counts", "limit", "size", "length"),
    *(
        "len",
        "bytes",
        "age",
        "ttl",
        "timeout",
        "expiry",
        "expires",
        "interval",
        "seconds",
        "sec",
        "ms",
        "name",
        "names",
    ),
    *("type", "types", "mode", "policy", "algorithm", "algorithms", "alg", "format", "prefix", "field", "fields"),
    *("header", "enabled", "required", "url", "uri", "endpoint", "host", "port", "addr", "proto", "issuer", "audience"),
    *("provider", "domain", "secure", "version", "usage", "rate", "ratio", "budget", "through", "backend", "class"),
}
#: Behind the word that counts: which one of several.
_WHICH = {"live", "test", "prod", "production", "dev", "staging", "old", "new", "backup", "default", "value"}
_ENGLISH = {"compass", "bypass", "trespass", "surpass", "encompass", "overpass", "underpass"}
#: Ends of words written together, such as PGPASSWORD, SSHPASS, accountkey.
_ENDS = ("token", "pwd", "pass", *(f"{kind}key" for kind in sorted(_KEY_KINDS)))
#: Known names that hold one of the words above and still no secret.
_PLAIN_NAMES = {"OLDPWD", "XDG_SESSION_ID", "internal_api_server_auth", "LMCACHE_INTERNAL_API_SERVER_AUTH"}

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NUMBER = re.compile(r"-?\d{1,7}(?:\.\d{1,20})?")
#: Values that are no secret under any name; types are what stands behind a parameter's name in source text.
_PLAIN_VALUES = {
    *("", "b''", "none", "null", "true", "false", "yes", "no", "on", "off", "str", "bytes", "int", "bool", "float"),
}
_REMEMBERED = 200  # letters; longer names are looked at each time, for what clients send must not fill the memory


def _shortest(words: set[str]) -> list[str]:
    return sorted(word for word in words if not any(other != word and other in word for other in words))


#: What a text must hold, in small letters, for one of its names to be a secret's: every rule needs one of these.
HINT = re.compile(
    "|".join(_shortest({*_STEMS, *_ANYWHERE, *_LAST, *_ENDS, "pass", "key", *(first for first, _ in _LAST_PAIRS)}))
)


def is_secret(name: str, value: str) -> bool:
    """Tell whether `value` under this name must be hidden.

    Args:
        name: A key, variable, header or option.
        value: As text. None, Booleans and the empty text are no secrets, nor is a number that counts tokens.
    """
    if value.lower() in _PLAIN_VALUES or not is_secret_name(name):
        return False
    if name == "PWD" and value.startswith("/"):  # the shell's: where it is; ODBC's is a password
        return False
    return not (_NUMBER.fullmatch(value) and _counts(_words(name)))


def is_secret_name(name: str) -> bool:
    """Tell whether a key, variable, header or option of this name holds a secret."""
    return _remembered(name) if len(name) <= _REMEMBERED else _is_secret_name(name)


def opens_something(kind: str) -> bool:
    """Tell whether a key of this kind is a secret also where a sentence speaks of it, as in `API key: ...`."""
    return kind.lower() in _KEY_KINDS


def _is_secret_name(name: str) -> bool:
    words = _words(name)
    while len(words) > 1 and words[-1] in _WHICH:
        del words[-1]
    if not words or name in _PLAIN_NAMES:
        return False
    if words[-1] in _LAST or tuple(words[-2:]) in _LAST_PAIRS:
        return True
    if words[-1] in _ABOUT:
        return False
    if words[-1] == "key" and len(words) > 1 and words[-2] not in _PLAIN_KEYS:
        return True
    return any(map(_is_secret_word, words, ["", *words], [*words[1:], ""]))


_remembered = lru_cache(maxsize=4096)(_is_secret_name)


def _is_secret_word(word: str, before: str, after: str) -> bool:
    if word in ("key", "keys"):
        return before in _KEY_KINDS
    if word == "tokens":
        return before in _SECRET_TOKENS
    if word == "pass":
        return before not in _PLAIN_PASSES
    if word == "token" and after in _OF_TEXT:
        return False
    return word in _ANYWHERE or (word.endswith(_ENDS) and word not in _ENGLISH) or any(stem in word for stem in _STEMS)


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]


def _counts(words: list[str]) -> bool:
    """Whether a number under this name is one of tokens, not a secret."""
    before, last = ["", "", *words][-2:]
    return (before, last) == ("token", "id") or last == "tokens" or (last == "token" and before in _COUNTED)
