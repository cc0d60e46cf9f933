"""The lookup client of a scheduler, or the lookup server of a worker: what there is, closing it, making it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lmcache_admin.errors import Conflict, Invalid, Unavailable, expect
from lmcache_admin.host.protocols import LookupManager, Runtime

#: Seconds that a change waits for the one before it: hosts rely on getting one at a time.
PATIENCE = 5.0
_SIDES = {"scheduler": "client", "worker": "server"}

Answer = tuple[dict[str, Any], int]


def describe(manager: LookupManager) -> dict[str, Any]:
    """Return the classes of client and server.

    Raises:
        Unavailable: The host cannot tell.
    """
    return _expected(_method(manager, "get_lookup_info")(), "get_lookup_info()")


def close(manager: LookupManager, changes: threading.Lock) -> Answer:
    """Close the one of this process's role.

    Raises:
        Invalid: The role is neither scheduler nor worker.
        Unavailable: The host cannot do that.
        Conflict: Another change is under way.
        RuntimeError: The host only logs what goes wrong in closing, and it is still there.
    """
    role, side = _role_of(manager)
    call = _method(manager, f"close_lookup_{side}")
    with _alone(changes):
        answer = _answered(call(), f"close_lookup_{side}()", role)
        left = _left(manager, side)
    if left != "None":
        raise RuntimeError(f"the lookup {side} is still there: {left}; the host's log says why it could not be closed")
    return answer


def create(manager: LookupManager, changes: threading.Lock, runtime: Runtime, dry: bool) -> Answer:
    """Make one of this process's role from the configuration, in the place of any that is there.

    Args:
        manager: The host's.
        changes: Held while something is changed.
        runtime: Tells what would be made where the host cannot tell without making one.
        dry: Only tell what would be made.

    Raises:
        Invalid, Unavailable, Conflict: As in `close`.
    """
    role, side = _role_of(manager)
    call = _method(manager, f"create_lookup_{side}")
    if dry:  # waits for nobody, and nobody waits for it: a host that tries it out may never come back
        told = runtime.describe_lookup(manager, side)
        return _answered(call(dryrun=True) if told is None else told, f"create_lookup_{side}()", role)
    with _alone(changes):
        return _answered(call(dryrun=False), f"create_lookup_{side}()", role)


def recreate(manager: LookupManager, changes: threading.Lock) -> Answer:
    """Close the one of this process's role and make another.

    Raises:
        Invalid, Unavailable, Conflict: As in `close`.
    """
    role, side = _role_of(manager)
    call = _method(manager, f"recreate_lookup_{side}")
    with _alone(changes):
        return _answered(call(), f"recreate_lookup_{side}()", role)


def _role_of(manager: LookupManager) -> tuple[str, str]:
    role = getattr(getattr(manager, "lmcache_engine_metadata", None), "role", None)
    if not isinstance(role, str) or role not in _SIDES:
        raise Invalid("Unknown role")
    return role, _SIDES[role]


def _method(manager: LookupManager, name: str) -> Callable[..., Any]:
    found: Callable[..., Any] | None = getattr(manager, name, None)
    if found is None:
        raise Unavailable(None)
    return found


@contextmanager
def _alone(changes: threading.Lock) -> Iterator[None]:
    if not changes.acquire(timeout=PATIENCE):
        raise Conflict("Another change of the lookup is under way and has not ended.")
    try:
        yield
    finally:
        changes.release()


def _left(manager: LookupManager, side: str) -> str:
    """Class of what is still there after closing; `None` where the host cannot tell."""
    ask = getattr(manager, "get_lookup_info", None)
    return "None" if ask is None else str(_expected(ask(), "get_lookup_info()").get(side, "None"))


def _answered(answer: object, call: str, role: str) -> Answer:
    body = {**_expected(answer, call), "role": role}
    return body, 400 if "error" in body else 200


def _expected(answer: object, call: str) -> dict[str, Any]:
    return expect(dict, answer, call, "an object")
