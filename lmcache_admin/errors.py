"""Failures as exceptions that carry the facts; `error_handlers` turns them into answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

from lmcache_admin.declaration import Declaration

T = TypeVar("T")


class Failure(Exception):
    """An answer that is not a success.

    Args:
        status: HTTP status.
        body: What the client reads: an object, or text where the contract has text.
        headers: Further headers, such as `Retry-After`.
    """

    style: str | None = None  #: How it is rendered; None: as the route's other failures.

    def __init__(self, status: int, body: Mapping[str, Any] | str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(body)
        self.status = status
        self.body = body
        self.headers = dict(headers or {})

    def answer(self, declaration: Declaration, path: str) -> Mapping[str, Any] | str:
        """The body in the wording of the route that failed, at `path`."""
        return self.body


class Invalid(Failure):
    """400: the request cannot be carried out as it was put."""

    def __init__(self, error: str, message: str | None = None) -> None:
        super().__init__(400, {"error": error} if message is None else {"error": error, "message": message})


class Forbidden(Failure):
    """403: the caller may not do this."""

    def __init__(self, message: str) -> None:
        super().__init__(403, {"error": "Forbidden", "message": message})


class Unauthorized(Failure):
    """401: this mode asks for credentials, and none that are good came with the request."""

    def __init__(self, message: str) -> None:
        super().__init__(401, {"error": "Unauthorized", "message": message}, {"WWW-Authenticate": "Bearer"})


class Detail(Failure):
    """An answer in the form `{"detail": text}`, which the contract has for the controller and for chunk loading."""

    style = "compact"

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, {"detail": text})


class Unavailable(Failure):
    """503: the part of the host that this needs is not there; the route's blueprint supplies the wording."""

    def __init__(self, message: str | None = "LMCache engine not configured.") -> None:
        super().__init__(503, {"error": "Unavailable", "message": message or ""})
        self.message = message

    def answer(self, declaration: Declaration, path: str) -> Mapping[str, Any] | str:
        error = declaration.unavailable.format(path=path)
        if declaration.failure == "detail":
            return {"detail": error}
        return {"error": error} if self.message is None else {"error": error, "message": self.message}


class Conflict(Failure):
    """409: what is asked for would break what is there; nothing was changed."""

    def __init__(self, message: str) -> None:
        super().__init__(409, {"error": "Conflict", "message": message})
        self.text = message

    def answer(self, declaration: Declaration, path: str) -> Mapping[str, Any] | str:
        return {"error": f"Failed to {declaration.operation}", "message": self.text}


class NotOffered(Failure):
    """501: the host has no such method or attribute.

    Args:
        owner: The class of the host's part.
        name: What it lacks.
    """

    def __init__(self, owner: str, name: str) -> None:
        super().__init__(501, {"error": "Not offered"})
        self.owner, self.missing = owner, name

    def answer(self, declaration: Declaration, path: str) -> Mapping[str, Any] | str:
        text = f"This host does not offer {self.missing!r}: its {self.owner} has none."
        if declaration.failure == "detail":
            return {"detail": text, "missing": self.missing}
        return {"error": f"Failed to {declaration.operation}", "message": text, "missing": self.missing}


class BadAnswer(Failure):
    """502: the host answered something that its interface does not allow.

    Args:
        call: The call on the host, such as `is_frozen()`.
        got: What it answered.
        expected: What is allowed.
    """

    def __init__(self, call: str, got: object, expected: str) -> None:
        super().__init__(502, {"error": "Bad answer"})
        self.text = f"{call} answered a {type(got).__name__}, expected {expected}"

    def answer(self, declaration: Declaration, path: str) -> Mapping[str, Any] | str:
        return {"error": f"Failed to {declaration.operation}", "message": self.text}


def expect(kind: type[T], answer: object, call: str, what: str) -> T:
    """Return what a call on the host answered, if it is what the interface promises.

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


def told(kind: type[T], ask: Callable[[], object]) -> T | None:
    """Return what a host says of the state before a change, or None: one that cannot say so is changed all the same."""
    try:
        answer = ask()
    except Exception:  # noqa: BLE001 - only the audit wants to know; the change itself says what is wrong with a host
        return None
    return answer if isinstance(answer, kind) else None


def expect_count(answer: object, call: str, what: str) -> int:
    """Return what a call on the host answered, if it is a whole number from 0; arguments as in `expect`."""
    if isinstance(answer, bool) or expect(int, answer, call, what) < 0:
        raise BadAnswer(call, answer, what)
    return expect(int, answer, call, what)


def expect_names(answer: object, call: str) -> list[str]:
    """Return the names that a call on the host answered, in its order."""
    fits = isinstance(answer, (list, tuple, set, frozenset, Mapping))
    if not fits or not all(isinstance(name, str) for name in cast("Iterable[object]", answer)):
        raise BadAnswer(call, answer, "names")
    return list(cast("Iterable[str]", answer))
