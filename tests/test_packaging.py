"""What is built and installed: wheel, archive, editable install and checkout, used from any working directory."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import lmcache_admin

ROOT = Path(__file__).parents[1]
PYTHON = sys.executable
PROBE = (
    "import lmcache_admin, pathlib\n"
    "from lmcache_admin.shipped import shipped_folder\n"
    "print(pathlib.Path(lmcache_admin.__file__).parent)\n"
    "folder = shipped_folder('blueprints')\n"
    "print(sorted(str(path.relative_to(folder)) for path in folder.rglob('*_api.py')))\n"
    "print((shipped_folder('conf') / 'lmcache.yaml').read_text()[:10])\n"
    "try:\n"
    "    import blueprints\n"
    "    print('importable', list(blueprints.__path__))\n"
    "except ImportError:\n"
    "    print('not importable')\n"
)


def run(*command: str, cwd: Path, **variables: str) -> str:
    # copies of the package are not what coverage is to count
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE_"))}
    done = subprocess.run(
        command, cwd=cwd, env={**kept, **variables}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module", name="source")
def source_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree without what builds and runs left there."""
    target = tmp_path_factory.mktemp("source") / "tree"
    skipped = shutil.ignore_patterns(".git", "build", "dist", "*.egg-info", "__pycache__", ".tox", ".ci", ".*_cache")
    shutil.copytree(ROOT, target, ignore=skipped)
    return target


@pytest.fixture(scope="module", name="archive")
def archive_fixture(source: Path) -> Path:
    """The source archive."""
    run(PYTHON, "setup.py", "-q", "sdist", cwd=source)
    (made,) = (source / "dist").glob("*.tar.gz")
    return made


@pytest.fixture(scope="module", name="wheel")
def wheel_fixture(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the archive: what a user builds who has nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    (unpacked,) = folder.glob("lmcache_admin-*")
    built = ("wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(folder), str(unpacked))
    run(PYTHON, "-m", "pip", *built, cwd=folder)
    (made,) = folder.glob("*.whl")
    return made


def environment(folder: Path) -> Path:
    """A new environment that finds the packages of this one; returns its Python."""
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    others = [path for path in sys.path if path.endswith("site-packages")]
    (site / "packages-of-the-tests.pth").write_text("\n".join(others))
    return folder / "bin" / "python"


def installed(python: Path, what: str, *options: str, cwd: Path) -> None:
    site = run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=cwd).strip()
    prefix = str(python.parent.parent)
    arguments = ("install", "-q", "--no-deps", "--no-build-isolation", "--force-reinstall", *options, what)
    run(PYTHON, "-m", "pip", "--python", str(python), *arguments, cwd=cwd)
    assert site.startswith(prefix)


def endpoint_files() -> list[str]:
    return sorted(str(path.relative_to(ROOT / "blueprints")) for path in (ROOT / "blueprints").rglob("*_api.py"))


def probe(python: Path | str, cwd: Path, **variables: str) -> tuple[str, list[str], str, str]:
    place, files, conf, importable = run(str(python), "-c", PROBE, cwd=cwd, **variables).splitlines()
    return place, ast.literal_eval(files), conf, importable


def test_the_wheel_holds_package_endpoints_and_conf(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"lmcache_admin/blueprints/{file}" for file in endpoint_files()} <= names
    assert {"lmcache_admin/py.typed", "lmcache_admin/conf/lmcache.yaml", "lmcache_admin/cli/serve.py"} <= names


def test_the_wheel_puts_one_package_into_site_packages(wheel: Path) -> None:
    roots = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert roots == {"lmcache_admin", f"lmcache_admin-{lmcache_admin.__version__}.dist-info"}


def test_the_wheel_brings_no_bytecode_and_no_init_of_blueprints(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if name.endswith(".pyc")] == []
    assert [name for name in names if name.endswith("blueprints/__init__.py")] == []


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    packed = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in packed.namelist() if name.endswith("/METADATA"))
    text = packed.read(metadata).decode()
    assert f"Version: {lmcache_admin.__version__}\n" in text
    assert "Requires-Python: >=3.10\n" in text
    assert "Requires-Dist: flask>=3.1.3\n" in text
    assert [name for name in packed.namelist() if name.endswith("/LICENSE")]


def test_the_archive_holds_what_tests_and_builds_need(archive: Path) -> None:
    with tarfile.open(archive) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert {f"blueprints/{file}" for file in endpoint_files()} <= names
    assert {"setup.py", "tox.ini", "LICENSE", "CHANGELOG.md", "conf/lmcache.yaml", "tests/conftest.py"} <= names


def test_an_installed_wheel_works_from_any_folder(wheel: Path, tmp_path: Path) -> None:
    python = environment(tmp_path / "env")
    installed(python, str(wheel), cwd=tmp_path)
    for folder in (tmp_path, Path("/")):
        place, files, conf, importable = probe(python, folder)
        assert place.startswith(str(tmp_path / "env"))
        assert files == endpoint_files()
        assert conf == "# Settings"
        assert importable == "not importable"


def test_a_module_that_is_gone_does_not_come_back_from_an_earlier_build(source: Path, tmp_path: Path) -> None:
    for part in ("lmcache_admin", "lmcache_admin/blueprints/common"):
        (source / "build/lib" / part).mkdir(parents=True, exist_ok=True)
        (source / "build/lib" / part / "gone_api.py").write_text("")
    built = ("wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(tmp_path), str(source))
    run(PYTHON, "-m", "pip", *built, cwd=tmp_path)
    (made,) = tmp_path.glob("*.whl")
    assert [name for name in zipfile.ZipFile(made).namelist() if "gone_api" in name] == []


def test_an_installed_wheel_has_the_command(wheel: Path, tmp_path: Path) -> None:
    python = environment(tmp_path / "env")
    installed(python, str(wheel), cwd=tmp_path)
    printed = run(str(python.parent / "lmcache-admin"), "--version", cwd=tmp_path)
    assert printed == f"lmcache-admin {lmcache_admin.__version__}\n"


def test_an_installed_wheel_hides_behind_a_checkout_in_the_working_directory(
    wheel: Path, source: Path, tmp_path: Path
) -> None:
    # python -c puts the working directory first: then the checkout is what runs, with its own folders
    python = environment(tmp_path / "env")
    installed(python, str(wheel), cwd=tmp_path)
    place, files, _, _ = probe(python, source)
    assert place == str(source / "lmcache_admin")
    assert files == endpoint_files()


def test_an_editable_install_uses_the_folders_where_they_lie(source: Path, tmp_path: Path) -> None:
    python = environment(tmp_path / "env")
    installed(python, str(source), "-e", cwd=tmp_path)
    (others,) = (tmp_path / "env").glob("lib/python*/site-packages/packages-of-the-tests.pth")
    others.unlink()  # a copy that is installed beside the tests would come first
    place, files, conf, importable = probe(python, tmp_path)
    assert place == str(source / "lmcache_admin")
    assert files == endpoint_files()
    assert conf == "# Settings"
    assert importable == "not importable"


def test_a_checkout_works_without_an_install(source: Path, tmp_path: Path) -> None:
    place, files, conf, _ = probe(PYTHON, tmp_path, PYTHONPATH=str(source))
    assert place == str(source / "lmcache_admin")
    assert files == endpoint_files()
    assert conf == "# Settings"
