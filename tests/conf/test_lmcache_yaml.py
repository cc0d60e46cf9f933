"""conf/lmcache.yaml: what `serve` runs with unless told otherwise, and a file that LMCache reads as it is."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from lmcache_admin.engine import Configuration
from lmcache_admin.settings import Settings, settings_keys
from lmcache_admin.settings_file import load_settings_file
from lmcache_admin.shipped import shipped_folder

FILE = shipped_folder("conf") / "lmcache.yaml"
PYTHON = os.environ.get("LMCACHE_ADMIN_TEST_LMCACHE_PYTHON")
LOAD = """
import json, logging, sys
lines = []
class Keep(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())
import lmcache.logging
from lmcache.v1.config import LMCacheEngineConfig
for name in list(logging.root.manager.loggerDict):
    if name.startswith("lmcache"):
        logging.getLogger(name).addHandler(Keep(logging.WARNING))
config = LMCacheEngineConfig.from_file(sys.argv[1])
print(json.dumps({"warnings": lines, "extra": config.extra_config, "enabled": config.internal_api_server_enabled,
                  "disk": config.local_disk, "chunk_size": config.chunk_size}))
"""


def test_the_service_starts_with_it_on_loopback_only() -> None:
    settings = Settings.from_mapping(load_settings_file(FILE), {})
    assert settings.enabled
    assert (settings.host, settings.port_start, settings.auth) == ("127.0.0.1", 6999, "local")
    assert settings.run_script_api_enabled is False


def test_the_embedded_engine_knows_every_key(caplog: pytest.LogCaptureFixture) -> None:
    configuration = Configuration.from_mapping(load_settings_file(FILE), {})
    assert (configuration.chunk_size, configuration.local_cpu) == (256, True)
    assert caplog.records == []


def commented() -> dict[str, object]:
    """Keys that the file names in comments, with the value beside them."""
    rows = re.findall(r"^\s*# ((?:internal_api_server|script)_\w+): (\S+|\[\])", FILE.read_text(), re.MULTILINE)
    return {name: yaml.safe_load(value) for name, value in rows}


def test_a_key_in_a_comment_is_a_key_and_shows_its_default() -> None:
    defaults = {key.name: key.default for key in settings_keys()}
    shown = commented()
    assert len(shown) > 5
    for name, value in shown.items():
        assert (value or None) == (defaults[name] or None)  # null, false and an empty list are the same here


@pytest.mark.lmcache
def test_lmcache_reads_it_without_a_warning(tmp_path: Path) -> None:
    if PYTHON is None:
        pytest.skip("LMCACHE_ADMIN_TEST_LMCACHE_PYTHON names no interpreter with LMCache 0.5.6")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LMCACHE_")}
    done = subprocess.run(
        [PYTHON, "-c", LOAD, str(FILE)],
        cwd=tmp_path,
        env=clean,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout.splitlines()[-1])
    assert read["warnings"] == []
    assert "Unknown configuration key" not in done.stdout + done.stderr
    assert (read["enabled"], read["disk"], read["chunk_size"]) == (True, None, 256)
    assert read["extra"]["internal_api_server_auth"] == "local"
