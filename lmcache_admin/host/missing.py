"""What a host does not offer, told from an AttributeError."""

from __future__ import annotations

from types import TracebackType

from lmcache_admin.errors import NotOffered

_OURS = ("lmcache_admin", "lmcache_admin_ext")
_EMBEDDED = "lmcache_admin.engine"


def missing_part(error: BaseException) -> NotOffered | None:
    """Return the failure that names what the host lacks, if that is what went wrong.

    So it is when an endpoint or an operation of ours asked an object of the host for something that it does not
    have. An AttributeError from within the host is its own fault, one over an object of ours is our own.
    """
    if not isinstance(error, AttributeError) or error.name is None or error.obj is None:
        return None
    owner = type(error.obj)
    if owner.__module__ == "builtins" or _is_ours(owner.__module__) or not _is_ours(_raised_in(error.__traceback__)):
        return None
    return NotOffered(owner.__name__, error.name)


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in _OURS and not module.startswith(_EMBEDDED)


def _raised_in(traceback: TracebackType | None) -> str:
    """Module that asked for the attribute; a host that passes on what it is asked for by `__getattr__` did not."""
    module = ""
    while traceback is not None and traceback.tb_frame.f_code.co_name != "__getattr__":
        module = traceback.tb_frame.f_globals.get("__name__", "")
        traceback = traceback.tb_next
    return module
