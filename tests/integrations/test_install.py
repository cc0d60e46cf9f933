"""Taking the place of LMCache's server, in whatever order things are imported.

A stand-in for LMCache's modules, in a process of its own: the order of imports cannot be tried twice in one process,
and the real package takes seconds for each. That the real one agrees is in test_lmcache_process.py.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

MODULES = {
    "lmcache/__init__.py": "",
    "lmcache/logging.py": "import logging\ndef init_logger(name): return logging.getLogger(name)",
    "lmcache/v1/__init__.py": "",
    "lmcache/v1/internal_api_server/__init__.py": "",
    "lmcache/v1/internal_api_server/registry.py": "ROUTES = 7",
    "lmcache/v1/internal_api_server/api_server.py": (
        "from .registry import ROUTES\n"
        "print('LMCache imported its own')\n"
        "app = 'its own app'\n"
        "class InternalAPIServer: pass\n"
    ),
    "lmcache/v1/standalone/__init__.py": "",
    "lmcache/v1/standalone/standalone_service_factory.py": (
        "from lmcache.v1.internal_api_server.api_server import InternalAPIServer\n"
    ),
    "lmcache/integration/__init__.py": "",
    "lmcache/integration/vllm/__init__.py": "",
    "lmcache/integration/vllm/vllm_service_factory.py": (
        "from lmcache.v1.internal_api_server.api_server import InternalAPIServer\n"
    ),
}
BUILT = """
import lmcache.integration.vllm.vllm_service_factory as vllm
import lmcache.v1.internal_api_server.api_server as api
import lmcache.v1.standalone.standalone_service_factory as standalone
print(*(module.InternalAPIServer.__module__ for module in (api, standalone, vllm)))
"""
INSTALL = "from lmcache_admin.integrations.lmcache import install, original_server\ninstall()\n"
OURS = "lmcache_admin.integrations.lmcache_server"
THEIRS = "lmcache.v1.internal_api_server.api_server"


@pytest.fixture
def lmcache(tmp_path: Path) -> Path:
    """A folder with the stand-in."""
    for name, text in MODULES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def run(folder: Path, source: str) -> list[str]:
    """Run a program that finds the packages of `folder` first; returns the lines that it printed."""
    program = f"import sys\nsys.path.insert(0, {str(folder)!r})\n{source}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return [*done.stdout.splitlines(), *done.stderr.splitlines()]


def test_ours_is_built_and_lmcaches_is_not_imported(lmcache: Path) -> None:
    assert run(lmcache, INSTALL + BUILT) == [f"{OURS} {OURS} {OURS}"]


def test_nothing_is_imported_for_it(lmcache: Path) -> None:
    asked = "print(*(name for name in ('lmcache', 'flask', 'waitress', 'yaml') if name in sys.modules))"
    assert run(lmcache, INSTALL + asked) == [""]


def test_modules_that_were_imported_before_get_the_name_too(lmcache: Path) -> None:
    assert run(lmcache, BUILT + INSTALL + BUILT) == [
        "LMCache imported its own",
        f"{THEIRS} {THEIRS} {THEIRS}",
        f"{OURS} {OURS} {OURS}",
    ]


@pytest.mark.parametrize("before", ["", BUILT])
def test_a_second_time_changes_nothing(lmcache: Path, before: str) -> None:
    again = "install()\ninstall()\n" + BUILT + "install()\nprint(original_server().__module__)\n"
    lines = run(lmcache, before + INSTALL + again)
    assert lines[-1] == THEIRS
    assert f"{OURS} {OURS} {OURS}" in lines


def test_the_original_is_kept_and_made_once(lmcache: Path) -> None:
    asked = "print(original_server() is original_server(), original_server().__name__)\n"
    assert run(lmcache, INSTALL + BUILT + asked) == [
        f"{OURS} {OURS} {OURS}",
        "LMCache imported its own",
        "True InternalAPIServer",
    ]


def test_other_names_of_the_module_are_lmcaches(lmcache: Path) -> None:
    asked = "print(api.app, api.ROUTES, hasattr(api, '__path__'), hasattr(api, 'nope'))"
    assert run(lmcache, INSTALL + BUILT + asked)[-1] == "its own app 7 False False"


def test_if_ours_fails_to_import_lmcache_keeps_its_own(lmcache: Path) -> None:
    # as a half-removed dependency would have it
    broken = "sys.modules['flask'] = None\n"
    lines = run(lmcache, broken + INSTALL + BUILT)
    assert lines[:2] == ["LMCache imported its own", f"{THEIRS} {THEIRS} {THEIRS}"]
    assert lines[2].startswith("LMCache keeps its own internal API server; ours failed to load: ")


def test_an_lmcache_without_that_module_is_left_alone(lmcache: Path) -> None:
    (lmcache / "lmcache/v1/internal_api_server/api_server.py").unlink()
    source = f"try:\n    import {THEIRS}\nexcept ImportError as error:\n    print(error.name)"
    assert run(lmcache, INSTALL + source) == [THEIRS]


def test_the_plugin_does_nothing_where_lmcache_is_not_installed(tmp_path: Path) -> None:
    source = (
        "from importlib.util import find_spec\n"
        "sys.modules['lmcache'] = None\n"  # as if it were not installed, wherever this runs
        "before = list(sys.meta_path)\n"
        "from lmcache_admin.integrations.vllm import register\n"
        "register()\n"
        "print(sys.meta_path == before, 'lmcache_admin.integrations.lmcache' in sys.modules)\n"
    )
    assert run(tmp_path, source) == ["True False"]


@pytest.fixture
def load_plugins() -> str:
    """Source that loads the plugins as vLLM does: each of the group that `VLLM_PLUGINS` allows, then all are called.

    vLLM does so once in a process; ours must bear a second time, for a process that is forked loads them again.
    """
    try:
        distribution("lmcache-admin")
    except PackageNotFoundError:
        pytest.skip("a checkout that is not installed has no entry points")
    return (
        "import os\n"
        "from importlib.metadata import entry_points\n"
        "def load_general_plugins():\n"
        "    allowed = os.environ.get('VLLM_PLUGINS')\n"
        "    allowed = None if allowed is None else allowed.split(',')\n"
        "    found = [p for p in entry_points(group='vllm.general_plugins') if p.name == 'lmcache_admin']\n"
        "    for plugin in [p.load() for p in found if allowed is None or p.name in allowed]: plugin()\n"
        "load_general_plugins()\n"
        "load_general_plugins()\n"
    )


def test_vllm_finds_the_plugin_by_its_entry_point(lmcache: Path, load_plugins: str) -> None:
    assert run(lmcache, load_plugins + BUILT) == [f"{OURS} {OURS} {OURS}"]


def test_vllm_leaves_the_plugin_out_where_it_is_told_so(lmcache: Path, load_plugins: str) -> None:
    told = "import os\nos.environ['VLLM_PLUGINS'] = 'another'\n"
    lines = run(lmcache, told + load_plugins + BUILT)
    assert lines == ["LMCache imported its own", f"{THEIRS} {THEIRS} {THEIRS}"]


def test_vllm_without_a_connector_of_lmcache_pays_one_finder(lmcache: Path, load_plugins: str) -> None:
    asked = (
        "import sys\n"
        "heavy = ('lmcache', 'flask', 'waitress', 'marshmallow', 'numpy', 'yaml')\n"
        "print(*(name for name in heavy if name in sys.modules))\n"
        "print(sum(type(f).__module__ == 'lmcache_admin.integrations.lmcache' for f in sys.meta_path))\n"
    )
    assert run(lmcache, load_plugins + asked) == ["", "1"]


def test_vllm_without_lmcache_is_left_as_it_was(tmp_path: Path, load_plugins: str) -> None:
    absent = "import sys\nsys.modules['lmcache'] = None\nbefore = list(sys.meta_path)\n"
    assert run(tmp_path, absent + load_plugins + "print(sys.meta_path == before)") == ["True"]
