"""The log of a process that the command line started: lines on stderr, as text or as JSON."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone

from lmcache_admin.security import Redactor, SecretsFilter

__all__ = ["start_logging"]

_TRACE = 5


class TextFormatter(logging.Formatter):
    """`2026-01-31T09:30:00.123Z WARNING name: message`, control characters of the message escaped."""

    def format(self, record: logging.LogRecord) -> str:
        message = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in record.getMessage())
        line = f"{_stamp(record)} {record.levelname} {record.name}: {message}"
        return f"{line}\n{record.exc_text or self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": _stamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "thread": record.threadName,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = record.exc_text or self.formatException(record.exc_info)
        return json.dumps(entry)


def start_logging(level: int, form: str, redactor: Redactor) -> None:
    """Send every logger's lines to stderr.

    Args:
        level: The lowest level that is written, as the logging module counts.
        form: `text` or `json`.
        redactor: Masks secrets in them.
    """
    logging.addLevelName(_TRACE, "TRACE")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    handler.addFilter(SecretsFilter(redactor))
    root = logging.getLogger()
    root.setLevel(level)
    root.addHandler(handler)


def _stamp(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, tz=timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
