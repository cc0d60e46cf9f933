"""Log lines without secrets: what a host raises, and what clients send, ends up in them."""

from __future__ import annotations

import logging

from lmcache_admin.security.redaction import Redactor

_FORMATTER = logging.Formatter()


class SecretsFilter(logging.Filter):
    """Masks secrets in the messages and tracebacks of records; it lets every record through.

    The exception itself stays with the record.

    Args:
        redactor: What masks them.
    """

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self.redactor = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask what a record says."""
        mask = self.redactor.mask_text
        said = _message(record)
        if said is not None and (masked := mask(said)) != said:
            record.msg, record.args = masked, None
        if record.exc_info and record.exc_info[0] is not None:  # formatters print this text where it is there
            record.exc_text = mask(record.exc_text or _FORMATTER.formatException(record.exc_info))
        if record.stack_info:
            record.stack_info = mask(record.stack_info)
        return True


def guard_own_loggers(redactor: Redactor) -> None:
    """Mask what this package's loggers say, those that there are by now; process-wide by nature, as loggers are."""
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and name.partition(".")[0] == "lmcache_admin":
            there = [kept.redactor.patterns for kept in logger.filters if isinstance(kept, SecretsFilter)]
            if redactor.patterns not in there:
                logger.addFilter(SecretsFilter(redactor))


def _message(record: logging.LogRecord) -> str | None:
    """What a record says; None where it cannot be said, which logging reports by itself."""
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - arguments that do not fit their text, or whose repr raises
        return None
