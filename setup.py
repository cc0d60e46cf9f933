"""Build of lmcache-admin; the sibling folders `blueprints` and `conf` become data of the package."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
SHIPPED = ("blueprints", "conf")  # folders beside the package that are installed inside it

# Floors come from published advisories (flask: Vary, werkzeug: form limits, waitress: half-open sockets) or
# from the first release that has what we use. No upper bounds of ours: lmcache 0.5.6 caps prometheus_client
# (0.24.1) and numpy (2.2.6), and both caps lie inside these ranges.
REQUIRES = [
    "flask>=3.1.3",
    "werkzeug>=3.1.0",
    "waitress>=3.0.1",
    "itsdangerous>=2.2.0",
    "PyYAML>=6.0.1",
    "marshmallow>=4.0.0",
    "webargs>=8.7.0",
    "flask-smorest>=0.46.2",
    "apispec>=6.8.2",
    "prometheus_client>=0.18.0",
    "numpy>=1.26.0",
    "cachetools>=5.3.0",
    "click>=8.1.7",
    "rich>=13.7.0",
]
# Optional parts; what needs one says which. The oldest redis-py whose clients name themselves, as LMCache's do.
REDIS = ["redis>=5.0.1"]
OBJECTS = ["fsspec>=2024.2.0", "s3fs>=2024.2.0"]
GCS = ["gcsfs>=2024.2.0"]  # with what it brings it is three times as large as all the rest
TEST = [
    *REDIS,
    *OBJECTS,
    *GCS,
    "moto[server]>=5.0.0",
    "gcp-storage-emulator>=2024.8.3",
    "pytest>=8.4",
    "pytest-cov>=6",
    "pytest-timeout>=2.3",
    "hypothesis>=6.100",
    "gunicorn>=23",
    "setuptools>=77",
    "openapi-spec-validator>=0.7.1",
]
DEV = [
    *TEST,
    "ruff>=0.14",
    "mypy>=1.18",
    "import-linter>=2.5",
    "tox>=4.20",
    "build>=1.2",
    "types-PyYAML",
    "types-cachetools",
    "types-waitress",
]


def version() -> str:
    """Read the version without importing the package, whose dependencies are not there yet."""
    text = (ROOT / "lmcache_admin" / "_version.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise SystemExit('lmcache_admin/_version.py has no line __version__ = "..."')
    return found[1]


def readme() -> str:
    """Read the long description; an early checkout may have none."""
    path = ROOT / "README.md"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def shipped_files() -> Iterator[Path]:
    """Files of the shipped folders, relative to the root, without what a run left there."""
    for name in SHIPPED:
        for path in sorted((ROOT / name).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
                yield path.relative_to(ROOT)


class BuildWithShippedFolders(build_py):
    """Copies the shipped folders into the built package; an editable install uses them where they lie."""

    def run(self) -> None:
        if self.editable_mode:
            super().run()
            return
        # an earlier build in this folder may have left a file that is gone by now
        shutil.rmtree(Path(self.build_lib, "lmcache_admin"), ignore_errors=True)
        super().run()
        for path in shipped_files():
            target = Path(self.build_lib, "lmcache_admin", path)
            self.mkpath(str(target.parent))
            self.copy_file(str(ROOT / path), str(target))
        for built in Path(self.build_lib).rglob("*"):
            built.chmod(0o755 if built.is_dir() else 0o644)  # whatever the checkout's modes: a build can be repeated

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs: list[str] = super().get_outputs(include_bytecode)
        if self.editable_mode:
            return outputs
        return outputs + [str(Path(self.build_lib, "lmcache_admin", path)) for path in shipped_files()]


os.umask(0o022)
setup(
    name="lmcache-admin",
    version=version(),
    description="Admin service of an LMCache engine: HTTP APIs and pages inside the engine's own process",
    long_description=readme(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["lmcache_admin", "lmcache_admin.*"]),
    include_package_data=True,
    package_data={"lmcache_admin": ["py.typed", "pages/templates/**/*", "pages/static/**/*"]},
    cmdclass={"build_py": BuildWithShippedFolders},
    install_requires=REQUIRES,
    extras_require={"redis": REDIS, "objects": OBJECTS, "gcs": GCS, "test": TEST, "dev": DEV},
    entry_points={
        "console_scripts": ["lmcache-admin = lmcache_admin.cli:main"],
        "vllm.general_plugins": ["lmcache_admin = lmcache_admin.integrations.vllm:register"],
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: Web Environment",
        "Framework :: Flask",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Typing :: Typed",
    ],
)
