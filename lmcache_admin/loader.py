"""BlueprintLoader: category folders -> `*_api.py` files -> blueprints, ours and the operator's alike."""

from __future__ import annotations

import hashlib
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from flask import Blueprint, Flask

from lmcache_admin.declaration import KINDS
from lmcache_admin.registration import RefusedError, register
from lmcache_admin.routes import methods_of
from lmcache_admin.shipped import shipped_folder

logger = logging.getLogger(__name__)

#: Category folders in the order of discovery, with the process kinds that serve them.
CATEGORIES: dict[str, tuple[str, ...]] = {
    "common": KINDS,
    "vllm": ("engine",),
    "controller": KINDS,
}
ENTRY_POINTS = "lmcache_admin.blueprints"
_loading = threading.Lock()


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
    note: str | None = None
    error: str | None = None

    def describe(self) -> dict[str, object]:
        """As `GET /blueprints` shows it."""
        status = "left out" if self.error else ("not served here" if self.note else "loaded")
        return {**vars(self), "status": status}


class BlueprintLoader:
    """Finds endpoint files and registers their blueprints.

    Args:
        extensions: Operator's folders, each holding category folders.
        kind: Process kind: `engine`, `controller` or `gateway`.
        check: Raises if what an operator's blueprint says of itself cannot be shown in OpenAPI.
    """

    def __init__(self, extensions: Iterable[str], kind: str, check: Callable[[str, Blueprint], None]) -> None:
        self._kind = kind
        self._check = check
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
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - a foreign package may fail in any way; the host goes on
                self._leave_out(Loaded("", entry.value, origin), _reason(error))

    def _add(self, app: Flask, folder: Folder, category: str, path: Path) -> None:
        loaded = Loaded(category, str(path) if not folder.built_in else path.name, folder.origin)
        try:
            self._register(app, loaded, _blueprint_of(load_file(path, folder, category)), folder)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # the host goes on; log and /blueprints say what happened
            if folder.built_in:
                raise ImportError(f"built-in endpoint file {category}/{path.name} failed: {error}") from error
            self._leave_out(loaded, _reason(error))

    def _register(self, app: Flask, loaded: Loaded, blueprint: Blueprint, folder: Folder) -> None:
        kinds = getattr(blueprint, "kinds", None) or CATEGORIES[loaded.category]
        if self._kind not in kinds:
            loaded.note = f"for other processes: {', '.join(kinds)}"
            self.files.append(loaded)
            return
        loaded.blueprint = blueprint.name if folder.built_in else _free_name(app, blueprint, folder)
        if folder.built_in:
            app.register_blueprint(blueprint)
        else:
            register(app, blueprint, loaded.blueprint, self._check)
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
        raise RefusedError(f"{real} is not a Python file")
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:  # raised on; a module that is half there must not be found again
        del sys.modules[name]
        raise
    return module


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, RefusedError) else f"{type(error).__name__}: {error}"


def _blueprint_of(module: ModuleType) -> Blueprint:
    blueprint = getattr(module, "blueprint", None)
    if not isinstance(blueprint, Blueprint):
        raise RefusedError("it exports no Flask blueprint under the name `blueprint`")
    return blueprint


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
        raise RefusedError(f"{folder} is not a folder")
    return folder
