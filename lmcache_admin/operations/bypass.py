"""Leaving a backend out of store, lookup and retrieve, and taking it in again."""

from __future__ import annotations

from typing import Any

from lmcache_admin.errors import Invalid, expect, expect_names
from lmcache_admin.host.protocols import StorageManager
from lmcache_admin.jobs import Note


def describe(storage: StorageManager) -> dict[str, Any]:
    """Return the backends that are left out, and all of them in search order."""
    return {"status": "success", "bypassed_backends": _bypassed(storage), "all_backends": _present(storage)}


def add(storage: StorageManager, name: str, note: Note) -> dict[str, Any]:
    """Leave a backend out.

    Raises:
        Invalid: No name, or none of that name.
    """
    before = _set(storage, name, True, note)
    return {
        "status": "success",
        "backend_name": name,
        "bypassed": True,
        "was_already_bypassed": before,
        "bypassed_backends": _bypassed(storage),
    }


def remove(storage: StorageManager, name: str, note: Note) -> dict[str, Any]:
    """Take a backend in again; a bypass that has outlived its backend stays for the next one of that name.

    Raises:
        Invalid: No name, or none of that name.
    """
    before = _set(storage, name, False, note)
    return {
        "status": "success",
        "backend_name": name,
        "bypassed": False,
        "was_bypassed": before,
        "bypassed_backends": _bypassed(storage),
    }


def _set(storage: StorageManager, name: str, bypassed: bool, note: Note) -> bool:
    """Set or lift a bypass; whether there was one. `note` is told what was so before and after."""
    if not name:
        raise Invalid("Missing parameter", "backend_name is required")
    present = _present(storage)
    if name not in present:
        raise Invalid("Unknown backend", f"Backend '{name}' not found. Available: {present}")
    before = expect(bool, storage.is_backend_bypassed(name), "is_backend_bypassed()", "true or false")
    if before is not bypassed:
        storage.set_backend_bypass(name, bypassed)
    note({"bypassed": {name: before}}, {"bypassed": {name: bypassed}})
    return before


def _present(storage: StorageManager) -> list[str]:
    return expect_names(storage.get_all_backend_names(), "get_all_backend_names()")


def _bypassed(storage: StorageManager) -> list[str]:
    return sorted(expect_names(storage.get_bypassed_backends(), "get_bypassed_backends()"))
