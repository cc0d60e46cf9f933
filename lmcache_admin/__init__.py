"""Admin service of an LMCache engine: HTTP APIs and pages inside the engine's own process.

The exports are loaded on first use, so that `import lmcache_admin` and the command line stay quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from lmcache_admin._version import __version__

if TYPE_CHECKING:
    from lmcache_admin.app import create_app
    from lmcache_admin.internal_api_server import InternalAPIServer

__all__ = ["InternalAPIServer", "__version__", "create_app"]

_LAZY = {"InternalAPIServer": "lmcache_admin.internal_api_server", "create_app": "lmcache_admin.app"}


def __getattr__(name: str) -> object:
    """Import the module of an export when somebody asks for the export."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
