"""One lookup part of a manager: made, described, replaced and closed at run time, answered as LMCache does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from lmcache_admin.engine.errors import ConfigurationError
from lmcache_admin.socket_files import StartError

logger = logging.getLogger(__name__)


class LookupPartError(Exception):
    """A part that the configuration asks for and that this engine does not have."""


REASONS = (ConfigurationError, LookupPartError, StartError)  # what keeps a part from being made; each is one line


class Closeable(Protocol):
    """A client or a server."""

    def close(self) -> None:
        """Never raises."""


P = TypeVar("P", bound=Closeable)


class Part(Generic[P]):
    """Holds a lookup client or server.

    A successor takes its place before the old one is closed: nobody meets a moment without one, and what
    cannot be made leaves the old one as it is.

    Args:
        what: `lookup client` or `lookup server`.
        make: Makes one, given the one that it is to replace; None where the configuration asks for none.
        describe: The class names of what `make` would make; builds nothing.
    """

    def __init__(self, what: str, make: Callable[[P | None], P | None], describe: Callable[[], str]) -> None:
        self.current: P | None = None
        self._what = what
        self._make = make
        self._describe = describe
        self._changing = threading.RLock()

    def open(self) -> None:
        """Make it when a manager starts; what keeps it from being made is one line in the log."""
        with self._changing:
            error = self.create().get("error")
        if error is not None:
            logger.warning("No %s: %s", self._what, error)

    def create(self, dryrun: bool = False) -> dict[str, Any]:
        """Make a new one, and close the one that was there.

        Args:
            dryrun: Only say what would be made.

        Returns:
            `new`, with `dryrun` if that was asked; or `error`, why there is none.
        """
        try:
            if dryrun:
                return {"new": self._describe(), "dryrun": True}
            with self._changing:
                old, self.current = self.current, self._make(self.current)
                new = named(self.current)
                if old is not None:
                    old.close()
        except REASONS as error:
            return {"error": str(error)}
        return {"new": new}

    def recreate(self) -> dict[str, Any]:
        """Replace it: `old` and `new`, or `error`."""
        with self._changing:
            if self.current is None:
                return {"error": f"{self._what} not available"}
            old = named(self.current)
            made = self.create()
        return made if "error" in made else {"old": old, **made}

    def close(self) -> dict[str, str]:
        """Close it: `old`, what it was."""
        with self._changing:
            old, self.current = self.current, None
            if old is not None:
                old.close()
        return {"old": named(old)}


def named(part: object) -> str:
    """Class name; of a wrapper also those of what it wraps, as `Outer(Inner)`; `None` where there is none."""
    if part is None:
        return "None"
    inner = getattr(part, "actual_lookup_client", None)
    own = type(part).__name__
    return own if inner is None else f"{own}({named(inner)})"
