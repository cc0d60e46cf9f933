"""Reading and setting the levels of loggers."""

from __future__ import annotations

import logging
from collections.abc import Callable

from lmcache_admin.content import Content
from lmcache_admin.errors import Failure, Invalid
from lmcache_admin.jobs import Note

#: Takes secrets out of a logger's name.
Mask = Callable[[str], str]

#: What the contract answers to a level without a logger.
NOTHING = Content(b"null", "application/json")
_LEVELS = ("CRITICAL", "FATAL", "ERROR", "WARNING", "WARN", "INFO", "DEBUG", "NOTSET")


def describe_all(mask: Mask) -> str:
    """Return one `NAME: LEVEL` line for each real logger, in the order of their creation."""
    loggers = list(logging.root.manager.loggerDict.items())
    lines = [
        f"{mask(name)}: {logging.getLevelName(item.level)}\n"
        for name, item in loggers
        if isinstance(item, logging.Logger)
    ]
    return "=== Loggers and Levels ===\n" + "".join(lines)


def describe(name: str, mask: Mask) -> str:
    """Return `NAME: LEVEL` with the logger's own level; a logger that nobody made is not made by asking."""
    logger = logging.root if name == "root" else logging.root.manager.loggerDict.get(name)
    level = logger.level if isinstance(logger, logging.Logger) else logging.NOTSET
    return f"{mask(name)}: {logging.getLevelName(level)}"


def change(name: str, level: str, mask: Mask, note: Note) -> str:
    """Set the level of a logger and of each of its own handlers, as `set_level` does.

    Raises:
        Invalid: No name, or a word that is no level.
    """
    if not name:
        raise Invalid("Missing parameter", "logger_name is required; root is the root logger")
    if level.upper() not in _LEVELS:
        raise Invalid("Invalid log level", f"{level!r} is no level; allowed: {', '.join(_LEVELS)}")
    return set_level(name, level, mask, note)


def set_level(name: str, level: str, mask: Mask, note: Note) -> str:
    """Set the level of a logger and of each of its own handlers.

    Args:
        name: The logger's; `root` for the root logger.
        level: A word.
        mask: Takes secrets out of the name.
        note: Is told the level before and after.

    Raises:
        Failure: 400 for a word that is no level; 500, as the contract has it, for one that the logging module knows
            as something else.
    """
    word = level.upper()
    if word not in _LEVELS:
        if hasattr(logging, word):
            allowed = ", ".join(_LEVELS)
            raise Failure(
                500,
                {"error": "Failed to set log level", "message": f"{word} is no level; allowed: {allowed}"},
            )
        raise Failure(400, f"Invalid log level: {level}")
    logger = logging.getLogger(None if name == "root" else name)
    before, value = logging.getLevelName(logger.level), getattr(logging, word)
    logger.setLevel(value)
    note({name: before}, {name: logging.getLevelName(value)})
    for handler in logger.handlers:
        handler.setLevel(value)
    return f"Set {mask(name)} level to {word} (including all handlers)"
