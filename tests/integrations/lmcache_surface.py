"""Compares the protocols of the host surface with real classes: every member is there, and takes our call.

Imported by lmcache_scenarios.py in an interpreter with LMCache, and by test_surface.py.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

#: What typing itself puts into a protocol.
_TYPING = {"_abc_impl", "_is_protocol", "_is_runtime_protocol"}


def protocols_of(module: Any) -> Mapping[str, type]:
    """Name -> protocol, of those that a module defines."""
    found = vars(module).items()
    return {name: part for name, part in found if getattr(part, "_is_protocol", False) and name != "Protocol"}


def lacking(protocol: type, live: object) -> list[str]:
    """What a live object lacks of a protocol: a member, or a parameter of our call to it."""
    return [fault for name, member in _members(protocol).items() for fault in _faults(name, member, live)]


def _members(protocol: type) -> dict[str, Any]:
    found = {**dict.fromkeys(inspect.get_annotations(protocol)), **vars(protocol)}
    return {name: member for name, member in found.items() if not name.startswith("__") and name not in _TYPING}


def _faults(name: str, member: Any, live: object) -> Iterator[str]:
    if not hasattr(live, name):
        yield f"{name}: there is none"
    elif inspect.isfunction(member):
        theirs = getattr(live, name)
        if not callable(theirs):
            yield f"{name}: it is no method"
            return
        for places, names in _calls(member):
            try:
                inspect.signature(theirs).bind(*places, **names)
            except TypeError as error:
                yield f"{name}: {error}"
            except ValueError:
                return  # a function of C that tells no parameters, such as a tensor's sum


def _calls(member: Any) -> Iterator[tuple[list[None], dict[str, None]]]:
    """Our calls of a method: with every argument, and with those only that have no default; by name where we may."""
    _, *parameters = inspect.signature(member).parameters.values()  # without self
    for given in (parameters, [p for p in parameters if p.default is p.empty]):
        places = [None for p in given if p.kind is p.POSITIONAL_ONLY]
        yield places, {p.name: None for p in given if p.kind is not p.POSITIONAL_ONLY}
