"""Where the modules that a script may import are: what another process needs to find and to read them."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec

_PACKAGES = ("site-packages", "dist-packages")


@dataclass
class Modules:
    """Places of modules.

    Args:
        path: Further folders of `sys.path`.
        trees: Files, and folders whose files are read.
        listed: Folders of which only the names are read.
    """

    path: list[str] = field(default_factory=list)
    trees: list[str] = field(default_factory=list)
    listed: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, names: Iterable[str]) -> Modules:
        """Find modules without importing them; what is not found is left out."""
        found = cls()
        for name in sorted({name.partition(".")[0] for name in names}):
            spec = _spec(name)
            for place in _places(spec) if spec is not None else ():
                found._add(os.path.dirname(place), place)
        return found

    def _add(self, folder: str, place: str) -> None:
        if folder not in self.path:
            self.path.append(folder)
        if os.path.basename(folder) in _PACKAGES:  # a package there needs others of them
            self.trees.append(folder)
        else:
            self.trees.append(place)
            self.listed.append(folder)


def _spec(name: str) -> ModuleSpec | None:
    if name in sys.stdlib_module_names:
        return None
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None


def _places(spec: ModuleSpec) -> list[str]:
    """Return a package's folders, or a module's file."""
    if spec.submodule_search_locations is not None:
        return [os.path.abspath(folder) for folder in spec.submodule_search_locations]
    return [os.path.abspath(spec.origin)] if spec.origin and spec.has_location else []
