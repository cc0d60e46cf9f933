"""Puts our server in the place of LMCache's own, with no line changed there."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import logging
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

__all__ = ["install", "original_server"]

logger = logging.getLogger(__name__)

_API_SERVER = "lmcache.v1.internal_api_server.api_server"
#: Modules that take the name from there; the first import of either may lie before ours.
_FACTORIES = (
    "lmcache.v1.standalone.standalone_service_factory",
    "lmcache.integration.vllm.vllm_service_factory",
)
_NAME = "InternalAPIServer"


def install() -> None:
    """Let LMCache build our server where it would build its own; again is no matter.

    LMCache's module of the server is not imported for it (nor FastAPI or uvicorn with it): whoever imports it gets
    a module of ours, and whoever has imported it already has the name set anew. Should ours fail to import,
    LMCache keeps its own, and the log says so.
    """
    with _lock:
        if _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)
        module = sys.modules.get(_API_SERVER)
        if module is None or isinstance(getattr(module.__spec__, "loader", None), _Loader):
            return
        ours = _ours()
        if ours is None:
            return
        if getattr(module, _NAME) is not ours:
            _finder.original = getattr(module, _NAME)
        for patched in (module, *filter(None, map(sys.modules.get, _FACTORIES))):
            setattr(patched, _NAME, ours)


def original_server() -> Callable[[Any], Any]:
    """Return LMCache's own class, which `install` keeps for those who want it back.

    Raises:
        ImportError: LMCache, or what its server needs, is not installed.
    """
    if _finder.original is None:
        _finder.original = getattr(_original_module(), _NAME)
    return _finder.original


class _Finder(importlib.abc.MetaPathFinder):
    """Answers for one module, and only where LMCache has it."""

    def __init__(self) -> None:
        self.original: Callable[[Any], Any] | None = None
        self.module: ModuleType | None = None

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _API_SERVER:
            return None
        real = PathFinder.find_spec(fullname, path, target)
        if real is None or real.loader is None:
            return None
        return ModuleSpec(fullname, _Loader(real.loader), origin=real.origin)


class _Loader(importlib.abc.Loader):
    """Fills the module with our class; what else somebody asks of it comes from LMCache's own."""

    def __init__(self, real: importlib.abc.Loader) -> None:
        self._real = real

    def exec_module(self, module: ModuleType) -> None:
        ours = _ours()
        if ours is None:
            self._real.exec_module(module)
            return
        setattr(module, _NAME, ours)
        vars(module)["__getattr__"] = _other_name


def _other_name(name: str) -> Any:
    """A name of LMCache's module that is not ours, such as its module-level `app`."""
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(_original_module(), name)


def _original_module() -> ModuleType:
    """LMCache's module of the server, executed once and kept out of `sys.modules`."""
    if _finder.module is None:
        package = importlib.import_module(_API_SERVER.rpartition(".")[0])
        spec = PathFinder.find_spec(_API_SERVER, package.__path__)
        if spec is None or spec.loader is None:
            raise ImportError(f"No module named {_API_SERVER!r}", name=_API_SERVER)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        _finder.module = module
    return _finder.module


def _ours() -> type | None:
    """Our class, made ready for this host; None where it cannot be had."""
    try:
        from lmcache_admin.integrations.lmcache_server import LMCacheAPIServer

        _log_as_lmcache()
    except Exception as error:  # noqa: BLE001 - an admin service that is broken must not break the engine's import
        logger.warning("LMCache keeps its own internal API server; ours failed to load: %r", error)
        return None
    return LMCacheAPIServer


def _log_as_lmcache() -> None:
    """Give our lines LMCache's handler and level, unless the process has set up logging for everybody."""
    from lmcache.logging import init_logger

    if not logging.getLogger("lmcache_admin").hasHandlers():
        init_logger("lmcache_admin")


_finder = _Finder()
_lock = threading.Lock()
