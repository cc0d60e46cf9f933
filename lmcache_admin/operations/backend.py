"""Listing, closing and creating backends at run time."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from lmcache_admin.errors import BadAnswer, Conflict, Failure, expect, expect_names, told
from lmcache_admin.host.protocols import Runtime, StorageManager
from lmcache_admin.jobs import Job, Note


def classes(storage: StorageManager) -> dict[str, str]:
    """Return name -> class name, in search order."""
    return _classes(storage.list_backends(), "list_backends()")


def create(runtime: Runtime, storage: StorageManager, note: Note) -> dict[str, Any]:
    """Create what the configuration names and is missing; `note` is told the backends before and after."""
    before = _known(storage)
    created = _classes(runtime.create_backends(storage), "create_backends()")
    note(before, _known(storage))
    return _created("created", created, storage)


def close(runtime: Runtime, storage: StorageManager, name: str, note: Note) -> dict[str, Any]:
    """Close a backend and take it out; `note` is told the backends before and after.

    Raises:
        Failure: 404, there is none of that name.
        Conflict: Every store and retrieve needs it.
    """
    _present(storage, name)
    if name == runtime.allocator(storage):
        raise Conflict(
            f"{name} allocates the memory of every store and retrieve, so it stays. PUT /bypass/add leaves it out, "
            f"POST /backends/{name}/recreate creates it again."
        )
    before = _known(storage)
    if not expect(bool, runtime.close_backend(storage, name), "close_backend()", "true or false"):
        raise _not_found(storage, name)
    note(before, _known(storage))
    body = {"status": "success", "message": f"Backend {name} closed", "backends": classes(storage)}
    return {**body, **_still_bypassed(storage, {name})}


def recreate(runtime: Runtime, storage: StorageManager, name: str, job: Job) -> dict[str, Any]:
    """Close a backend and create it again; other missing ones are created too.

    Args:
        runtime, storage: Of the host.
        name: The backend's name.
        job: Whose last safe point is before the backend is closed.

    Raises:
        Failure: 404, there is none of that name, or no longer when its turn comes.
        RuntimeError: It was closed, and could not be created.
    """
    _present(storage, name)
    job.checkpoint()
    before = _known(storage)
    try:
        answer = runtime.recreate_backend(storage, name)
    except Exception as error:
        if _is_unknown(error, name):
            raise _not_found(storage, name) from None
        if name in classes(storage):
            raise
        reason = str(error) or type(error).__name__
        gone = f"{name} is closed, and creating it failed: {reason}. POST /backends tries that again."
        raise RuntimeError(gone) from error
    finally:
        job.note_change(before, _known(storage))
    return _created("recreated", _classes(answer, "recreate_backend()"), storage)


def _created(key: str, created: dict[str, str], storage: StorageManager) -> dict[str, Any]:
    body = {"status": "success", key: created, "backends": classes(storage)}
    return {**body, **_still_bypassed(storage, created.keys())}


def _known(storage: StorageManager) -> dict[str, Any]:
    return {"backends": told(dict, storage.list_backends)}


def _still_bypassed(storage: StorageManager, names: Set[str]) -> dict[str, list[str]]:
    """Which of these are bypassed: a bypass outlives its backend, and holds for the next one of that name."""
    ask = getattr(storage, "get_bypassed_backends", None)
    bypassed = [] if ask is None else expect_names(ask(), "get_bypassed_backends()")
    found = sorted(names & set(bypassed))
    return {"bypassed": found} if found else {}


def _present(storage: StorageManager, name: str) -> None:
    if name not in classes(storage):
        raise _not_found(storage, name)


def _is_unknown(error: Exception, name: str) -> bool:
    """Whether the host says that it has no such backend; a KeyError may also come from a backend's creation."""
    return isinstance(error, KeyError) and error.args in ((name,), (f"Backend {name} not found",))


def _not_found(storage: StorageManager, name: str) -> Failure:
    body = {"status": "not_found", "message": f"Backend {name} not found", "backends": classes(storage)}
    return Failure(404, body)


def _classes(answer: object, call: str) -> dict[str, str]:
    found = expect(dict, answer, call, "names and classes of backends")
    if not all(isinstance(text, str) for pair in found.items() for text in pair):
        raise BadAnswer(call, answer, "names and classes of backends")
    return found
