"""The parts of the host of the server that is answering now; each raises one kind of failure when it is absent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from flask import current_app

from lmcache_admin.errors import BadAnswer, Detail, Unavailable

if TYPE_CHECKING:
    from lmcache_admin.host.protocols import Engine, Manager, Registry, Runtime, StorageManager
    from lmcache_admin.service import Service

T = TypeVar("T")

__all__ = [
    "current_config", "current_engine", "current_manager", "current_registry", "current_runtime",
    "current_service", "current_storage", "expect",
]


def current_service() -> Service:
    """The service whose application is handling this request."""
    return cast("Service", current_app.extensions["lmcache_admin"])


def current_runtime() -> Runtime:
    """What the process offers beside the engine: versions, periodic threads, metrics."""
    return current_service().runtime


def current_manager(message: str = "LMCache adapter not configured.") -> Manager:
    """The manager.

    Raises:
        Unavailable: This process has none.
    """
    manager = current_service().manager
    if manager is None:
        raise Unavailable(message)
    return manager


def current_config() -> Any:
    """The engine's configuration object, or None."""
    manager = current_service().manager
    return getattr(manager, "config", None)


def current_engine() -> Engine:
    """The engine, ready to be used.

    Raises:
        Unavailable: There is none, or it has no storage manager yet (before its post-init).
    """
    engine = _engine()
    if engine.storage_manager is None:
        raise Unavailable("LMCache engine is not ready yet: it has no storage manager.")
    return engine


def current_storage(message: str = "StorageManager not initialized.") -> StorageManager:
    """The engine's storage manager.

    Raises:
        Unavailable: There is no engine, or it has no storage manager (`message` says that).
    """
    storage = _engine().storage_manager
    if storage is None:
        raise Unavailable(message)
    return storage


def _engine() -> Engine:
    engine = getattr(current_service().manager, "lmcache_engine", None)
    if not engine:
        raise Unavailable
    return cast("Engine", engine)


def current_registry() -> Registry:
    """The worker registry of an attached controller.

    Raises:
        Detail: 503, no controller is attached.
    """
    controller = current_service().controller
    if controller is None:
        raise Detail(503, "Controller manager not available")
    return cast("Registry", controller.reg_controller.registry)


def expect(kind: type[T], answer: object, call: str, what: str) -> T:
    """Return `answer` if it is a `kind`.

    Args:
        kind: What the interface promises.
        answer: What the host's method returned.
        call: That call, for the message.
        what: What is allowed, in words.

    Raises:
        BadAnswer: It is something else.
    """
    if not isinstance(answer, kind):
        raise BadAnswer(call, answer, what)
    return answer
