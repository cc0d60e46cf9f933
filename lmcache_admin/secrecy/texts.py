"""Secrets inside a text: in addresses, headers, command lines, `name=value`, YAML and sentences.

Every expression walks over a text once: a match holds the interpreter's lock, and texts of clients come through here.
So a run of letters is never begun in its middle, and two repeats that stand side by side never take the same letter.
"""

from __future__ import annotations

import re

from lmcache_admin.secrecy.names import HINT, is_secret, is_secret_name, opens_something
from lmcache_admin.secrecy.spans import Span, line_span, value_span

MASK = "******"

#: Where a word begins, also behind a line end that JSON or `repr` has written as two letters.
_BEGIN = r"(?:\b|(?<=\\[nrt]))"
#: Secrets that are known by their own shape, wherever they stand.
_SHAPES = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|\Z)"
    rf"|{_BEGIN}(?:gh[pousr]_|github_pat_|glpat-|glrt-|sk-|[prs]k_live_|sk_test_|xox[abeprs]-|xapp-|lmca_|pypi-Ag|dop_v1_|AIza"
    r"|ya29\.|AKIA|ASIA|nvapi-|tskey-|hvs\.|hvb\.|dckr_pat_|SG\.|whsec_|gsk_|shpat_)[\w.-]{8,}"
    rf"|{_BEGIN}(?:hf_|npm_|r8_)[A-Za-z0-9]{{16,}}"
    r"|(?:(?<![\w-])|(?<=\\[nrt]))eyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)?"
    r"|(?<=hooks\.slack\.com/)[^\s\"'<>]+|(?<=/api/webhooks/)[^\s\"'<>]+|(?<=webhook\.office\.com/)[^\s\"'<>]+"
    r"|(?<=api\.telegram\.org/bot)[^\s\"'<>/]+",
    re.DOTALL,
)
_ALONE = re.compile(r"[\w+.-]+://")
_RUN = re.compile(r"[^\s\"']+")
#: Users of an address that are people or programs; anything else before `@` may be a token.
_USER = re.compile(r"[A-Za-z]?[a-z._-]{0,19}\d{0,4}")
_BEARER = re.compile(
    rf"(?i:{_BEGIN}(bearer)\s+(?!(?:tokens?|auth|authentication|authorization|scheme|credentials?)\b))[\w.~+/=-]{{8,}}"
)
_BASIC = re.compile(rf"{_BEGIN}((?i:basic))\s+(?=[a-z]*[A-Z0-9+/=])[\w.~+/=-]{{8,}}")
#: user:password as an argument; two numbers are a user and a group.
_LOGIN = re.compile(r"(?<!\S)((?:-u|--user|--proxy-user)(?:=|\s+)(?!\d+:\d+(?!\S))[^\s:]+:)\S+")
#: Programs whose short option holds a password, and that option.
_PROGRAMS = (
    (re.compile(r"(?:redis|valkey|keydb)-(?:cli|benchmark)"), re.compile(r"(?<!\S)(-a\s*)\S+")),
    (re.compile(r"sshpass|mysql|mariadb|mongo|\blogin\s"), re.compile(r"(?<!\S)(?<!mkdir )(-p\s*)\S+")),
    (re.compile(r"ldap"), re.compile(r"(?<!\S)(-w\s*)\S+")),
    (re.compile(r"curl|wget"), re.compile(r"(?<!\S)(-u[^\s:]+:)\S+")),
)
#: Secrets behind a blank: settings of Redis, SQL, netrc, sentences.
_SPACED = re.compile(
    r"(?i:\b(?:requirepass|masterauth|identified by)[ \t]+|\blogin\s+\S+\s+password\s+|password[ \t]+(?=[\"'])"
    r"|(?:password|passwd|passphrase|secret|token|api[ _-]?key)[ \t]+(?:is|was)[ \t]+"
    r"(?!(?:not|no|too|required|missing|invalid|wrong|incorrect|empty|set|unset|expired|needed|unknown|correct|valid"
    r"|disabled|enabled|a|an|the|in|for|only|never|now|used|being|already|still|stored|ok|present|found|absent)\b))"
)
_ELEMENT = re.compile(r"(?<=<)([\w.:-]{1,100})>([^<>]+)(?=</)")
#: A line `name:` with what belongs to it on the lines below.
_BLOCK = re.compile(
    r"([ \t]*(?:-[ \t]+)?)[\"']?([\w.-]+)[\"']?[ \t]*:(?:[ \t]+(?:[|>][-+\d]*|[&!]\S+(?:[ \t]+[|>][-+\d]*)?))?"
    r"(?:[ \t]+#.*)?"
)
#: The beginning of `name=value`, `"name": "value"`, `name => value`, `name%3Dvalue`; or of `--name value`.
_NAME = re.compile(
    r"(?:(?<![\w.-])(?P<name>[\w.-]+)(?P<gap>(?:\\*[\"'])?\s*(?:=>|:=|==?|:(?!:)|%3[ADad])[ \t]*(?:\n[ \t]+)?)"
    r"|(?:(?<![\w.-])|(?<=\\[nrt]))(?P<option>--?[A-Za-z][\w.-]+)\s+(?!--))"
)
_LABEL = re.compile(r"\\*[\"']?([\w.-]+)")
_WORD_BEFORE = re.compile(r"([A-Za-z]+)[ \t]\Z")
_LINE_BEGIN = re.compile(r"(?:\A|\n)[ \t-]*[\"']?\Z")
_OPENING = ('"', "'", "[", "{", "\\")
_NEAR = 200  # letters that are looked back at


def mask_secrets(text: str) -> str:
    """Return `text` with the secrets inside it masked."""
    text = _SHAPES.sub(MASK, text)
    lowered = text.lower()
    hinted = HINT.search(lowered) is not None
    if hinted:
        text = _ELEMENT.sub(_masked_element, _mask_pairs(_mask_blocks(text)))
    if hinted or "identified by" in lowered:
        text = _mask_spaced(text)
    if "://" in text:
        text = _mask_addresses(text)
    text = _BASIC.sub(rf"\1 {MASK}", _BEARER.sub(rf"\1 {MASK}", text))
    return _mask_options(text)


def _mask_addresses(text: str) -> str:
    """Mask passwords in addresses, and users that look like a token; a password may hold `/` and `@`."""
    if _ALONE.match(text) and len(text.split(None, 1)) == 1:
        return _masked_run(text)  # an address and nothing else: quotes are part of it
    return _RUN.sub(lambda match: _masked_run(match[0]) if "://" in match[0] else match[0], text)


def _masked_run(run: str) -> str:
    first, *addresses = run.split("://")
    return "://".join([first, *map(_masked_address, addresses)])


def _masked_address(address: str) -> str:
    login, digest, tail = address.partition("@sha256:")
    user = re.split("[:/?#@]", login, maxsplit=1)[0]
    sign = login[len(user) : len(user) + 1]
    last = login.rfind("@")
    if sign == "@":  # further ones before the path belong to the login: `me@example.com:password@host`
        last = re.split("[/?#]", login, maxsplit=1)[0].rfind("@")
        user, password = (_masked_user(user), "") if last == len(user) else (MASK, "")
    elif sign == ":" and last > len(user) + 1:
        user, password = _masked_user(user), f":{MASK}"
    else:
        return address
    return user + password + login[last:] + digest + tail


def _masked_user(user: str) -> str:
    return user if _USER.fullmatch(user) else MASK


def _mask_options(text: str) -> str:
    text = _LOGIN.sub(rf"\1{MASK}", text)
    for program, option in _PROGRAMS:
        if program.search(text):
            text = option.sub(rf"\1{MASK}", text)
    return text


def _masked_element(match: re.Match[str]) -> str:
    return f"{match[1]}>{MASK}" if is_secret(match[1], match[2].strip()) else match[0]


def _mask_spaced(text: str) -> str:
    parts, at = [], 0
    while (match := _SPACED.search(text, at)) is not None:
        span = value_span(text, match.end())
        parts += [text[at : span.begin], MASK]
        at = max(span.end, match.end())
    return "".join(parts) + text[at:]


def _mask_blocks(text: str) -> str:
    """Mask what stands indented under a line `name:`, as YAML has lists, objects and long texts."""
    if "\n" not in text:
        return text
    kept: list[str] = []
    inside = -1
    for line in text.split("\n"):
        bare = line.lstrip(" \t")
        indent = len(line) - len(bare)
        if inside >= 0 and (not bare or indent > inside or (indent == inside and bare.startswith("- "))):
            if bare and kept[-1].strip() != MASK:
                kept.append(line[:indent] + MASK)
            continue
        begin = _BLOCK.fullmatch(line.rstrip())
        inside = len(begin[1]) if begin and is_secret_name(begin[2]) else -1
        kept.append(line)
    return "\n".join(kept)


def _mask_pairs(text: str) -> str:
    """Mask the values of secret names; a harmless name's value is searched too, for `error: password=x` holds one."""
    parts, at, label = [], 0, ""
    while (match := _NAME.search(text, at)) is not None:
        end = match.end("option" if match["option"] else "name")
        name = _full_name(text, match)
        if name in ("name", "key"):
            found = _LABEL.match(text, match.end())
            label = found[1] if found else ""
        elif name == "value" and is_secret_name(label):
            name, label = label, ""
        span = _span(text, match) if is_secret_name(name) else None
        if span and is_secret(name, text[span.begin : span.end]):
            parts += [text[at : span.begin], MASK]
            at = span.end
        else:
            parts.append(text[at:end])
            at = end
    return "".join(parts) + text[at:]


def _full_name(text: str, match: re.Match[str]) -> str:
    """The name, with the word before it where the name alone says too little: `API key: ...`, `first token: ...`."""
    if match["option"]:
        return match["option"].lstrip("-")
    name = match["name"].strip("-")
    if name.lower() in ("key", "token"):
        begin = match.start()
        before = _WORD_BEFORE.search(text, max(0, begin - _NEAR), begin)
        if before and (name.lower() == "token" or opens_something(before[1])):
            return f"{before[1]}_{name}"
    return name


def _span(text: str, match: re.Match[str]) -> Span:
    """Where the value stands; that of a header and that of a line of its own go to the end of the line."""
    gap, begin, value = match["gap"], match.start(), match.end()
    if gap and gap.strip() == ":" and text[value : value + 1] not in _OPENING:
        if match["name"].lower().endswith(("authorization", "cookie")):
            quote = text[begin - 1 : begin]
            return line_span(text, value, quote if quote in "\"'" else "")
        if _LINE_BEGIN.search(text, max(0, begin - _NEAR), begin):
            return line_span(text, value)
    span = value_span(text, value)
    if text[span.begin : span.end].endswith((":", "=")) and is_secret_name(text[span.begin : span.end]):
        return line_span(text, span.begin)  # the value is a header or a pair itself: `COOKIES=Cookie: a=b; c=d`
    return span
