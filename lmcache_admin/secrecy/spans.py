"""Where a value inside a text begins and ends: quoted, in brackets, to the end of a line, else up to a separator."""

from __future__ import annotations

import re
from typing import NamedTuple

_QUOTE = re.compile(r"[bBrRuUfF]{0,2}(?P<quote>\\{0,8}[\"'])")
_BRACKET = re.compile(r"[\w.]{0,100}[\[({]")
_SIGN = re.compile(r"[\"'\[\](){}]")
#: A separator ends a value where a name, a quote or nothing follows it; else it is a letter of a password.
_BARE = re.compile(r"(?:[^\s,;&\"'}\])]|[,;&](?![\s,;&\"'\]})]|[\w.-]*[\"']?[=:]|\Z)|[\]})\"'](?=\w))+")
_LINES = {"": re.compile(r"[^\n]*"), '"': re.compile(r"[^\n\"]*"), "'": re.compile(r"[^\n']*")}
#: Words between the name of a header and its secret.
_SCHEME = re.compile(r"(?i:bearer|basic|token|digest|negotiate|apikey)[ \t]+(?=\S)")


class Span(NamedTuple):
    """Where a value stands, without its quotes."""

    begin: int
    end: int


def value_span(text: str, at: int) -> Span:
    """Find the value that begins at `at`; one whose quote or bracket is never closed goes to the end of the text."""
    if quote := _QUOTE.match(text, at):
        return Span(quote.end(), _quote_end(text, quote.end(), quote["quote"]))
    if bracket := _BRACKET.match(text, at):
        return Span(at, _bracket_end(text, bracket.end() - 1))
    scheme = _SCHEME.match(text, at)
    bare = _BARE.match(text, scheme.end() if scheme else at)
    return Span(at, bare.end() if bare else at)


def line_span(text: str, at: int, quote: str = "") -> Span:
    """Find the value that goes from `at` to the end of its line, or to `quote` if that comes first."""
    line = _LINES[quote].match(text, at)
    end = line.end() if line else at
    return Span(at, at + len(text[at:end].rstrip(" \t\r,")))


def _quote_end(text: str, at: int, quote: str) -> int:
    if len(quote) == 1 and text.startswith(quote * 2, at):
        quote *= 3
        at += 2
    while (end := text.find(quote, at)) >= 0:
        before = len(text[max(at, end - 16) : end]) - len(text[max(at, end - 16) : end].rstrip("\\"))
        if before % 2 == 0:
            return end
        at = end + 1
    return len(text)


def _bracket_end(text: str, at: int) -> int:
    depth = 0
    while (sign := _SIGN.search(text, at)) is not None:
        at = sign.end()
        if sign[0] in "\"'":
            at = min(_quote_end(text, at, sign[0]) + 1, len(text))
        else:
            depth += 1 if sign[0] in "[({" else -1
            if depth == 0:
                return at
    return len(text)
