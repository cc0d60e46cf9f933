"""`AdminBlueprint`: what an endpoint file says about itself. An endpoint file imports nothing else of the web."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import wraps
from typing import Any, NoReturn, ParamSpec, TypeVar, cast

from flask import Response
from flask_smorest import Blueprint
from marshmallow import Schema, validate

from lmcache_admin import fields
from lmcache_admin.declaration import KINDS, LANES, ROLES, Declaration
from lmcache_admin.documented import documented
from lmcache_admin.host.current import current_service
from lmcache_admin.jobs import Work
from lmcache_admin.long_work import answer_with, carry_out
from lmcache_admin.parsing import ContractParser
from lmcache_admin.rendering import STYLES
from lmcache_admin.settings import settings_keys

__all__ = ["AdminBlueprint", "Schema", "Work", "fields", "validate"]

#: Settings that a route may be switched by.
SWITCHES = tuple(key.field for key in settings_keys() if isinstance(key.default, bool))
P = ParamSpec("P")
View = TypeVar("View", bound=Callable[..., Any])


class AdminBlueprint(Blueprint):  # type: ignore[misc]  # flask-smorest has no types
    """A blueprint whose routes declare operation, role and lane.

    Args:
        name: The feature's noun.
        style: Rendering of results: `pretty`, `compact`, `text`, `pretty_text`, `pretty_any`.
        unavailable: Wording of the 503 when the host lacks something; `{path}` is the request's path.
        kinds: Process kinds that serve this file (`engine`, `controller`, `gateway`); None: the category's.
        failure: Form of an unexpected failure: `error` (`{"error", "message"}`) or `detail`.
    """

    ARGUMENTS_PARSER = ContractParser()

    def __init__(
        self,
        name: str,
        *,
        style: str = "compact",
        unavailable: str = "{path} API is unavailable",
        kinds: Collection[str] | None = None,
        failure: str = "error",
        description: str = "",
    ) -> None:
        super().__init__(name, "lmcache_admin", description=description)
        self.kinds = _known_kinds(kinds)
        self._defaults = {"style": style, "unavailable": unavailable, "failure": failure}

    def get(self, path: str, **declared: Any) -> Callable[[View], View]:
        """Declare a view that reads; see `Declaration` for the keywords."""
        return self._route("GET", path, declared)

    def post(self, path: str, **declared: Any) -> Callable[[View], View]:
        """Declare a view that acts; see `Declaration` for the keywords."""
        return self._route("POST", path, declared)

    def put(self, path: str, **declared: Any) -> Callable[[View], View]:
        """Declare a view that sets something; see `Declaration` for the keywords."""
        return self._route("PUT", path, declared)

    def delete(self, path: str, **declared: Any) -> Callable[[View], View]:
        """Declare a view that removes something; see `Declaration` for the keywords."""
        return self._route("DELETE", path, declared)

    def patch(self, path: str, **declared: Any) -> Callable[[View], View]:
        """Declare a view that changes a part of something; see `Declaration` for the keywords."""
        return self._route("PATCH", path, declared)

    def route(self, rule: str, **options: Any) -> NoReturn:
        """Refuse: a route without operation, role and lane has no place here."""
        raise TypeError(f"{rule}: declare it with get, post, put, patch or delete")

    def arguments(self, schema: type[Schema] | Schema, *, location: str, **options: Any) -> Callable[[View], View]:
        """Hand the view what `schema` makes of the request's `query`, `json`, `headers` or `files`."""
        if location not in self.ARGUMENTS_PARSER.__location_map__:
            known = ", ".join(sorted(self.ARGUMENTS_PARSER.__location_map__))
            raise TypeError(f"arguments: location={location!r} is not one of {known}")
        decorate: Callable[[View], View]
        if location == "optional_json":  # OpenAPI knows no such place: the route's `body` describes it
            decorate = cast("Callable[[View], View]", self.ARGUMENTS_PARSER.use_args(schema, location=location))
        else:
            decorate = super().arguments(schema, location=location, **options)
        return decorate

    def _route(self, method: str, path: str, declared: Mapping[str, Any]) -> Callable[[View], View]:
        missing = [name for name in ("operation", "role", "lane") if name not in declared]
        if missing:
            raise TypeError(f"{method} {path} does not declare {', '.join(missing)}")
        declaration = _checked(Declaration(**{**self._defaults, **declared}), f"{method} {path}")

        def decorate(view: View) -> View:
            begins_work = view.__annotations__.get("return") in (Work, "Work")
            answer = _answering(view, path, replace(declaration, begins_work=begins_work))
            self.add_url_rule(
                path,
                f"{view.__name__}_{method.lower()}",
                answer,
                methods=[method],
                provide_automatic_options=False,
            )
            return view

        return decorate


def _known_kinds(kinds: Collection[str] | None) -> tuple[str, ...] | None:
    if kinds is not None and (isinstance(kinds, str) or not kinds or not set(kinds) <= set(KINDS)):
        raise TypeError(f"kinds={kinds!r} is not a list of {', '.join(KINDS)}")
    return None if kinds is None else tuple(kinds)


def _checked(declaration: Declaration, route: str) -> Declaration:
    operation: object = declaration.operation  # whatever the file says
    if not isinstance(operation, str) or not operation:
        raise TypeError(f"{route}: operation={operation!r} is not a text")
    for value, allowed, what in (
        (declaration.role, ROLES, "role"),
        (declaration.lane, LANES, "lane"),
        (declaration.style, tuple(STYLES), "style"),
        (declaration.failure, ("error", "detail"), "failure"),
        (declaration.switch or "", ("", *SWITCHES), "switch"),
        (declaration.public, ("", "always", *SWITCHES), "public"),
    ):
        if value not in allowed:
            raise TypeError(f"{route}: {what}={value!r} is not one of {', '.join(allowed)}")
    return declaration


def _answering(view: Callable[P, Any], path: str, declaration: Declaration) -> Callable[P, Response]:
    @wraps(view)
    def answer(*args: P.args, **kwargs: P.kwargs) -> Response:
        result = view(*args, **kwargs)
        if isinstance(result, Work):
            return carry_out(result, declaration)
        return answer_with(result, declaration, current_service().redactor)

    answer.declaration = declaration  # type: ignore[attr-defined]
    answer._apidoc = documented(view, path, declaration)  # type: ignore[attr-defined]
    return answer
