"""The OpenAPI document, made when somebody asks for it: building it costs more than most processes will ever need."""

from __future__ import annotations

import threading
from typing import Any

from flask import Flask
from flask_smorest import Api

from lmcache_admin import __version__, fields
from lmcache_admin.blueprint import AdminBlueprint


class OpenApi:
    """One application's document, built once.

    Args:
        app: The application with all its blueprints registered.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._document: dict[str, Any] | None = None
        self._lock = threading.Lock()

    def document(self) -> dict[str, Any]:
        """Return the document; plain Flask blueprints of an operator's are not in it, for they describe nothing."""
        with self._lock:
            if self._document is None:
                self._document = self._build()
            return self._document

    def _build(self) -> dict[str, Any]:
        shadow = Flask("openapi", static_folder=None)
        shadow.url_map = self._app.url_map
        api = Api()
        for kind, (name, shape) in {
            fields.Integer: ("integer", None),
            fields.Boolean: ("boolean", None),
        }.items():
            api.register_field(kind, name, shape)
        api.init_app(shadow, spec_kwargs={"title": "lmcache-admin", "version": __version__, "openapi_version": "3.1.0"})
        for name, blueprint in self._app.blueprints.items():
            if isinstance(blueprint, AdminBlueprint):
                blueprint.register_views_in_doc(api, self._app, api.spec, name=name, parameters=None)
        document: dict[str, Any] = api.spec.to_dict()
        return document
