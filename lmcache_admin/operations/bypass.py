"""Leaving a backend out of store, lookup and retrieve, and taking it in again."""

from __future__ import annotations

from typing import Any

from lmcache_admin.errors import Invalid, expect, expect_names
from lmcache_admin.host.protocols import StorageManager


def describe(storage: StorageManager) -> dict[str, Any]:
    """Return the backends that are left out, and all of them in search order."""
    return {"status": "success", "bypassed_backends": _bypassed(storage), "all_backends": _present(storage)}


def add(storage: StorageManager, name: str) -> dict[str, Any]:
    """Leave a backend out.

    Raises:
        Invalid: No name, or none of that name.
    """
    present = _present(storage)
    if _named(name) not in present:
        raise _unknown(name, present)
    before = _is_bypassed(storage, name)
    if not before:
        storage.set_backend_bypass(name, True)
    return {
        "status": "success",
        "backend_name": name,
        "bypassed": True,
        "was_already_bypassed": before,
        "bypassed_backends": _bypassed(storage),
    }


def remove(storage: StorageManager, name: str) -> dict[str, Any]:
    """Take a backend in again; also lifts a bypass that has outlived its backend.

    Raises:
        Invalid: No name, or neither a backend nor a bypass of that name.
    """
    present = _present(storage)
    before = _is_bypassed(storage, _named(name))
    if not before and name not in present:
        raise _unknown(name, present)
    if before:
        storage.set_backend_bypass(name, False)
    return {
        "status": "success",
        "backend_name": name,
        "bypassed": False,
        "was_bypassed": before,
        "bypassed_backends": _bypassed(storage),
    }


def _named(name: str) -> str:
    if not name:
        raise Invalid("Missing parameter", "backend_name is required")
    return name


def _unknown(name: str, present: list[str]) -> Invalid:
    return Invalid("Unknown backend", f"Backend '{name}' not found. Available: {present}")


def _present(storage: StorageManager) -> list[str]:
    return expect_names(storage.get_all_backend_names(), "get_all_backend_names()")


def _bypassed(storage: StorageManager) -> list[str]:
    return sorted(expect_names(storage.get_bypassed_backends(), "get_bypassed_backends()"))


def _is_bypassed(storage: StorageManager, name: str) -> bool:
    return expect(bool, storage.is_backend_bypassed(name), "is_backend_bypassed()", "true or false")
