"""The routes of one application with what they declare: for the lanes, the listing and OpenAPI."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flask import Flask
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect, Rule

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


class RouteTable:
    """Answers which route a request will take, without spending a thread on it.

    Args:
        app: The application with all its blueprints registered.
    """

    def __init__(self, app: Flask) -> None:
        self._adapter = app.url_map.bind("localhost")
        self._static: dict[tuple[str, str], Route] = {}
        self._by_rule: dict[tuple[str, str], Route] = {}
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


def methods_of(rule: Rule) -> set[str]:
    """Return the methods that a rule serves."""
    return set(rule.methods or ("GET",))


def _route(entry: Served) -> Route:
    declared = entry.declaration
    return Route(f"{entry.method} {entry.rule}", declared.operation, declared.lane, quick=declared.quick)
