"""BlueprintLoader: category folders -> `*_api.py` files -> blueprints, ours and the operator's alike."""

from __future__ import annotations

import hashlib
import logging
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from flask import Blueprint, Flask

from lmcache_admin.routes import methods_of
from lmcache_admin.shipped import shipped_folder

logger = logging.getLogger(__name__)

#: Category folders in the order of discovery, with the process kinds that serve them.
CATEGORIES: dict[str, tuple[str, ...]] = {
    "common": ("engine", "controller", "gateway"),
    "vllm": ("engine",),
    "controller": ("engine", "controller", "gateway"),
}
ENTRY_POINTS = "lmcache_admin.blueprints"
_loading = threading.Lock()


class ExtensionError(Exception):
    """Why an operator's file is left out."""


@dataclass(frozen=True)
class Folder:
    """A folder that holds category folders.

    Args:
        path: Where.
        origin: `built-in`, or what named it.
    """

    path: Path
    origin: str

    @property
    def built_in(self) -> bool:
        """Whether its files are ours: one that fails stops the start."""
        return self.origin == "built-in"


@dataclass
class Loaded:
    """One `*_api.py` file and what became of it."""

    category: str
    file: str
    origin: str
    blueprint: str = ""
    routes: list[str] = field(default_factory=list)
    error: str | None = None

    def describe(self) -> dict[str, object]:
        """As `GET /blueprints` shows it."""
        status = "left out" if self.error else "loaded"
        return {**vars(self), "status": status}


class BlueprintLoader:
    """Finds endpoint files and registers their blueprints.

    Args:
        extensions: Operator's folders, each holding category folders.
        kind: Process kind: `engine`, `controller` or `gateway`.
    """

    def __init__(self, extensions: Iterable[str], kind: str) -> None:
        self._kind = kind
        self._extensions = tuple(extensions)
        self.files: list[Loaded] = []

    def register_all(self, app: Flask) -> None:
        """Register every blueprint that belongs into this kind of process.

        Raises:
            ImportError: A built-in file failed; the message names it.
        """
        for folder in self._folders():
            for category in CATEGORIES:
                for path in sorted((folder.path / category).glob("*_api.py")):
                    self._add(app, folder, category, path)

    def _folders(self) -> Iterator[Folder]:
        yield Folder(shipped_folder("blueprints"), "built-in")
        for place in self._extensions:
            if not Path(place).is_dir():
                self._leave_out(Loaded("", place, "internal_api_server_blueprint_paths"), "there is no such folder")
                continue
            yield Folder(Path(place).resolve(), "internal_api_server_blueprint_paths")
        for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
            origin = f"entry point {entry.name}"
            try:
                yield Folder(_folder_of(entry.load()), origin)
            except Exception as error:  # noqa: BLE001 - a foreign package may fail in any way; the host must go on
                self._leave_out(Loaded("", entry.value, origin), f"{type(error).__name__}: {error}")

    def _add(self, app: Flask, folder: Folder, category: str, path: Path) -> None:
        loaded = Loaded(category, str(path) if not folder.built_in else path.name, folder.origin)
        if folder.built_in:
            try:
                self._register(app, loaded, _blueprint_of(load_file(path, folder, category)), None)
            except Exception as error:
                raise ImportError(f"built-in endpoint file {category}/{path.name} failed: {error}") from error
            return
        try:
            blueprint = _blueprint_of(load_file(path, folder, category))
            _check_routes(app, blueprint)
            self._register(app, loaded, blueprint, _free_name(app, blueprint, folder))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - an extension may fail in any way; the host must go on
            text = str(error) if isinstance(error, ExtensionError) else f"{type(error).__name__}: {error}"
            self._leave_out(loaded, text)

    def _register(self, app: Flask, loaded: Loaded, blueprint: Blueprint, name: str | None) -> None:
        kinds = getattr(blueprint, "kinds", None) or CATEGORIES[loaded.category]
        if self._kind not in kinds:
            return
        loaded.blueprint = name or blueprint.name
        app.register_blueprint(blueprint, name=loaded.blueprint)
        added = [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith(f"{loaded.blueprint}.")]
        loaded.routes = sorted(f"{m} {rule.rule}" for rule in added for m in methods_of(rule))
        self.files.append(loaded)
        logger.info("Discovered API module: %s", loaded.file)

    def _leave_out(self, loaded: Loaded, why: str) -> None:
        loaded.error = why
        self.files.append(loaded)
        logger.error("Left out the extension %r (%s): %r", loaded.file, loaded.origin, why)


def load_file(path: Path, folder: Folder, category: str) -> ModuleType:
    """Execute an endpoint file once per process and return its module.

    Args:
        path: The file.
        folder: The folder that it was found in.
        category: Its category.
    """
    real = path.resolve()
    if folder.built_in:
        name = f"lmcache_admin.blueprints.{category}.{real.stem}"
    else:
        digest = hashlib.sha256(str(folder.path).encode("utf-8", "surrogateescape")).hexdigest()[:12]
        name = f"lmcache_admin_ext.{digest}.{category}.{real.stem}"
    with _loading:
        known = sys.modules.get(name)
        if known is not None and getattr(known, "__file__", None) == str(real):
            return known
        return _execute(name, real)


def _execute(name: str, real: Path) -> ModuleType:
    spec: ModuleSpec | None = spec_from_file_location(name, real)
    if spec is None or spec.loader is None:
        raise ExtensionError(f"{real} is not a Python file")
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _blueprint_of(module: ModuleType) -> Blueprint:
    blueprint = getattr(module, "blueprint", None)
    if not isinstance(blueprint, Blueprint):
        raise ExtensionError("it exports no Flask blueprint under the name `blueprint`")
    return blueprint


def _check_routes(app: Flask, blueprint: Blueprint) -> None:
    """Refuse a blueprint that cannot be registered, or that claims a route that is taken."""
    trial = Flask("trial", static_folder=None)
    trial.url_rule_class = app.url_rule_class
    trial.register_blueprint(blueprint)
    taken = {(method, _shape(rule.rule)): rule for rule in app.url_map.iter_rules() for method in methods_of(rule)}
    for rule in trial.url_map.iter_rules():
        for method in sorted(methods_of(rule)):
            if (method, _shape(rule.rule)) in taken:
                raise ExtensionError(f"the route {method} {rule.rule} is taken")


def _shape(rule: str) -> str:
    """A rule with the names of its parameters taken out."""
    return "/".join("<>" if part.startswith("<") else part for part in rule.split("/"))


def _free_name(app: Flask, blueprint: Blueprint, folder: Folder) -> str:
    if blueprint.name not in app.blueprints:
        return blueprint.name
    return f"{blueprint.name}_{hashlib.sha256(str(folder.path).encode()).hexdigest()[:12]}"


def _folder_of(target: object) -> Path:
    """The folder that an entry point names: a package, a path, or a function that returns one."""
    found = target() if callable(target) else target
    if isinstance(found, ModuleType):
        found = Path(found.__file__).parent if found.__file__ else next(iter(found.__path__))
    folder = Path(str(found)).resolve()
    if not folder.is_dir():
        raise ExtensionError(f"{folder} is not a folder")
    return folder
