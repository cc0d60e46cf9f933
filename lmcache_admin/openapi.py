"""The OpenAPI document, made when somebody asks for it: building it costs more than most processes will ever need."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.common import MODIFIERS
from flask import Blueprint, Flask
from flask.sansio.blueprints import Blueprint as SansioBlueprint
from flask_smorest import Api
from marshmallow import INCLUDE, Schema

from lmcache_admin import __version__, fields
from lmcache_admin.blueprint import AdminBlueprint
from lmcache_admin.documented import ERROR
from lmcache_admin.rendering import render


class ErrorBody(Schema):
    """What a failure answers."""

    class Meta:
        unknown = INCLUDE

    error = fields.Text(metadata={"description": "What failed."})
    message = fields.Text(metadata={"description": "Why: what was wrong, with which value, and what is allowed."})
    errors = fields.Dict(metadata={"description": "Of a 422: location, field, reasons."})
    detail = fields.Text(metadata={"description": "What the contract calls it."})


class _Described(Api):  # type: ignore[misc]  # flask-smorest has no types
    ERROR_SCHEMA = ErrorBody
    DEFAULT_ERROR_RESPONSE_NAME = None  # each route names every status that it has


class OpenApi:
    """One application's document, built once.

    Args:
        app: The application with all its blueprints registered.
        auth: The mode of authentication.
    """

    def __init__(self, app: Flask, auth: str) -> None:
        self._app = app
        self._auth = auth
        self._document: dict[str, Any] | None = None
        self._lock = threading.Lock()

    def document(self) -> dict[str, Any]:
        """Return the document; plain Flask blueprints of an operator's are not in it, for they describe nothing."""
        with self._lock:
            if self._document is None:
                self._document = self._build()
            return self._document

    def check(self, name: str, blueprint: Blueprint) -> None:
        """Raise whatever keeps a registered blueprint from being shown."""
        render(self._describe({name: blueprint}), "compact")

    def _build(self) -> dict[str, Any]:
        return self._describe(self._app.blueprints)

    def _describe(self, blueprints: Mapping[str, SansioBlueprint]) -> dict[str, Any]:
        shadow = Flask("openapi", static_folder=None)
        shadow.url_map = self._app.url_map
        api = _Described()
        for kind, (name, shape) in {
            fields.Integer: ("integer", None),
            fields.Boolean: ("boolean", None),
        }.items():
            api.register_field(kind, name, shape)
        api.init_app(
            shadow,
            spec_kwargs={
                "title": "lmcache-admin",
                "version": __version__,
                "openapi_version": "3.1.0",
                "marshmallow_plugin": MarshmallowPlugin(schema_name_resolver=_component),
            },
        )
        for name, blueprint in blueprints.items():
            if isinstance(blueprint, AdminBlueprint):
                blueprint.register_views_in_doc(api, self._app, api.spec, name=name, parameters=None)
        if self._auth == "token":
            api.spec.components.security_scheme("token", {"type": "http", "scheme": "bearer"})
            api.spec.options["security"] = [{"token": []}]
        document: dict[str, Any] = api.spec.to_dict()
        return document


def _component(schema: type[Schema] | Schema) -> str:
    """Name a schema after its file, since two files may both have a `Body`; a variant of one is shown in place."""
    if isinstance(schema, Schema) and any(getattr(schema, modifier) for modifier in MODIFIERS):
        return ""
    kind = schema if isinstance(schema, type) else type(schema)
    if kind is ErrorBody:
        return ERROR
    return f"{kind.__module__.removeprefix('lmcache_admin.blueprints.')}.{kind.__name__}"
