"""Registering a blueprint of somebody else's: it is served whole, or the application stays as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flask import Blueprint, Flask
from werkzeug.routing import Map, Rule

from lmcache_admin.routes import methods_of

#: What Flask keeps of blueprints besides the routes. Under the key None stands what counts for every request.
_HOOKS = (
    "before_request_funcs",
    "after_request_funcs",
    "teardown_request_funcs",
    "url_value_preprocessors",
    "url_default_functions",
    "error_handler_spec",
)
_KEPT = ("view_functions", "blueprints", "teardown_appcontext_funcs", *_HOOKS)


class RefusedError(Exception):
    """Why a blueprint is left out."""


def register(app: Flask, blueprint: Blueprint, name: str, check: Callable[[str, Blueprint], None]) -> None:
    """Register `blueprint` under `name`.

    Args:
        app: The application.
        blueprint: An operator's.
        name: A name that is free.
        check: Raises if what the blueprint says of itself cannot be shown.

    Raises:
        RefusedError: It claims a route that is taken, or hooks into the requests of others.
        Exception: Whatever its own set-up or `check` raises. In each case the application is as it was.
    """
    taken = {(method, _shape(rule.rule)) for rule in app.url_map.iter_rules() for method in methods_of(rule)}
    before = {hook: _weight(app, hook) for hook in _HOOKS}
    with _unchanged_on_failure(app):
        app.register_blueprint(blueprint, name=name)
        for rule in app.url_map.iter_rules():
            for method in sorted(methods_of(rule)) if rule.endpoint.startswith(f"{name}.") else ():
                if (method, _shape(rule.rule)) in taken:
                    raise RefusedError(f"the route {method} {rule.rule} is taken")
        for hook in _HOOKS:
            if _weight(app, hook) != before[hook]:
                raise RefusedError(f"it hooks into every request of the application ({hook}), not only into its own")
        check(name, blueprint)


def _shape(rule: str) -> str:
    """A rule with the names of its parameters taken out."""
    return "/".join("<>" if part.startswith("<") else part for part in rule.split("/"))


def _weight(app: Flask, hook: str) -> int:
    """How many functions a hook has for every request."""
    found = getattr(app, hook).get(None) or ()
    return sum(len(kinds) for kinds in found.values()) if isinstance(found, dict) else len(found)


@contextmanager
def _unchanged_on_failure(app: Flask) -> Iterator[None]:
    kept = {name: _copied(getattr(app, name)) for name in _KEPT}
    rules = [_unbound(rule) for rule in app.url_map.iter_rules()]
    routes = app.url_map
    try:
        yield
    except BaseException:  # raised on, with the application as it was
        for name, value in kept.items():
            setattr(app, name, value)
        app.url_map = Map(
            rules,
            host_matching=routes.host_matching,
            merge_slashes=routes.merge_slashes,
            redirect_defaults=routes.redirect_defaults,
        )
        app.url_map.converters = routes.converters
        raise


def _unbound(rule: Rule) -> Rule:
    free = rule.empty()
    free.defaults = rule.defaults  # an empty one would become None, which flask-smorest does not expect
    return free


def _copied(value: Any) -> Any:
    """Copy containers and keep what is in them: functions, blueprints, and the kind of each dictionary."""
    if isinstance(value, list):
        return [_copied(item) for item in value]
    if not isinstance(value, dict):
        return value
    copy = value.copy()
    for key, item in value.items():
        copy[key] = _copied(item)
    return copy
