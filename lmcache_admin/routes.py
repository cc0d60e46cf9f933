"""The routes of one application with what they declare: for the lanes, the listing and OpenAPI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Flask
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.routing import Map, MapAdapter, RequestRedirect, Rule

from lmcache_admin.declaration import UNDECLARED, Declaration
from lmcache_admin.serving.lanes import Route

#: What nobody serves costs little: a 404, a 405 or a redirect.
UNMATCHED = Route("unmatched", "find a route", "light", quick=True)


@dataclass(frozen=True)
class Served:
    """One method of one path, as it is served."""

    method: str
    rule: str
    blueprint: str
    declaration: Declaration


class FixedRoutes(MapAdapter):
    """Routes of one request: those without parameters are looked up, the others matched.

    Args:
        url_map: All routes.
        environ: The request's WSGI environment.
        fixed: (method, path) -> rule, of the routes without parameters.
    """

    def __init__(self, url_map: Map, environ: Mapping[str, Any], fixed: Mapping[tuple[str, str], Rule]) -> None:
        path = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace")
        host = environ.get("HTTP_HOST") or environ["SERVER_NAME"]
        script, query = environ.get("SCRIPT_NAME", ""), environ.get("QUERY_STRING", "")
        scheme = environ["wsgi.url_scheme"]
        super().__init__(url_map, host, script, "", scheme, path, environ["REQUEST_METHOD"], query)
        self._fixed = fixed

    def match(self, *args: Any, **options: Any) -> Any:
        """As `MapAdapter.match`, but `//conf` is not `/conf`: what a proxy forbids by its path stays forbidden."""
        if not args and options == {"return_rule": True}:
            if self.path_info.startswith("//"):
                raise NotFound
            rule = self._fixed.get((self.default_method, self.path_info))
            if rule is not None:
                return rule, {}
        return super().match(*args, **options)


class RouteTable:
    """Answers which route a request will take, without spending a thread on it.

    Args:
        app: The application with all its blueprints registered.
    """

    def __init__(self, app: Flask) -> None:
        self._adapter = app.url_map.bind("localhost")
        self._static: dict[tuple[str, str], Route] = {}
        self._by_rule: dict[tuple[str, str], Route] = {}
        fixed = [rule for rule in app.url_map.iter_rules() if _is_fixed(rule)]
        #: (method, path) -> rule, of the routes without parameters; the first to claim a route has it.
        self.fixed = {(method, rule.rule): rule for rule in reversed(fixed) for method in methods_of(rule)}
        self.served = tuple(_served(app))
        for entry in self.served:
            route = _route(entry)
            self._by_rule[entry.method, entry.rule] = route
            if "<" not in entry.rule:
                self._static[entry.method, entry.rule] = route

    def classify(self, method: str, path: str) -> Route:
        """Return the route of a request.

        Args:
            method: As in `REQUEST_METHOD`.
            path: As in `PATH_INFO`.
        """
        return self._static.get((method, path)) or self._match(method, path)

    def _match(self, method: str, path: str) -> Route:
        try:
            rule, _ = self._adapter.match(path, method, return_rule=True)
        except (HTTPException, RequestRedirect):
            return UNMATCHED
        return self._by_rule.get((method, rule.rule), UNMATCHED)


def _served(app: Flask) -> Iterator[Served]:
    for rule in app.url_map.iter_rules():
        declaration = getattr(app.view_functions[rule.endpoint], "declaration", UNDECLARED)
        blueprint = rule.endpoint.rpartition(".")[0]
        for method in sorted(methods_of(rule)):
            yield Served(method, rule.rule, blueprint, declaration)


def _is_fixed(rule: Rule) -> bool:
    return rule.is_leaf and not (rule.arguments or rule.defaults or rule.redirect_to or rule.alias or rule.websocket)


def methods_of(rule: Rule) -> set[str]:
    """Return the methods that a rule serves."""
    return set(rule.methods or ("GET",))


def _route(entry: Served) -> Route:
    declared = entry.declaration
    name = f"{entry.method} {entry.rule}"
    begun = Route(f"{name} (begun)", declared.operation, "read", quick=False) if declared.begins_work else None
    return Route(name, declared.operation, declared.lane, declared.quick, begun)
