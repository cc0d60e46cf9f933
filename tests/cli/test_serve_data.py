"""What `serve` keeps in its data folder besides chunks: audit, key of sessions, tokens (S2, S10, S27)."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

P = "internal_api_server_"
Start = Callable[..., Any]
Run = Callable[..., Any]


@pytest.fixture(name="port")
def port_fixture(free_port: Callable[[int], int]) -> str:
    return str(free_port(2))


@pytest.fixture(name="settings")
def settings_fixture(tmp_path: Path) -> Callable[..., str]:
    """`settings(auth="token")`: a settings file of our keys."""

    def write(**extra: object) -> str:
        lines = [f"  {P}{name}: {'null' if value is None else value}" for name, value in extra.items()]
        file = tmp_path / "settings.yaml"
        file.write_text("\n".join(["extra_config:", *lines, ""]) if lines else "chunk_size: 256\n")
        return str(file)

    return write


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def test_s27_audit_is_in_the_data_folder_and_verifies(
    start: Start, run: Run, client: Any, port: str, tmp_path: Path
) -> None:
    started = start("--port-start", port, "--data", "mine")
    for offset in (0, 1):  # scheduler and worker share it
        assert client(int(port) + offset).get("/loglevel?logger_name=tests.data&level=ERROR").status == 200
    assert started.end() == 0
    file = tmp_path / "mine" / "audit.log"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    told = run("audit", "verify", "--file", str(file))
    assert (told.returncode, told.stdout) == (0, f"{file}: lines 1 to 4 are as they were written\n")


def test_s10_sessions_outlive_a_restart_because_their_key_does(start: Start, port: str, tmp_path: Path) -> None:
    keys = []
    for _ in range(2):
        assert start("--port-start", port, "--data", "mine").end() == 0
        keys.append((tmp_path / "mine" / "session.key").read_text())
    assert keys[0] == keys[1]
    assert len(keys[0].strip()) == 64
    assert stat.S_IMODE((tmp_path / "mine" / "session.key").stat().st_mode) == 0o600


def test_s14_mode_token_finds_its_tokens_in_the_data_folder(
    start: Start, run: Run, client: Any, port: str, settings: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir(mode=0o700)
    secret = run("token", "add", "ops", "--role", "viewer", "--file", "mine/tokens").stdout.strip()
    start("--config", settings(auth="token"), "--port-start", port, "--data", "mine")
    assert client(int(port)).get("/version").status == 401
    assert client(int(port)).request("GET", "/version", headers=bearer(secret)).status == 200


def test_mode_token_of_the_environment_counts_as_well(
    start: Start, run: Run, client: Any, port: str, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir(mode=0o700)
    run("token", "add", "ops", "--role", "viewer", "--file", "mine/tokens")
    start("--port-start", port, "--data", "mine", LMCACHE_INTERNAL_API_SERVER_AUTH="token")
    assert client(int(port)).get("/version").status == 401


def test_s14_mode_token_without_a_token_does_not_start_and_says_how_to_make_one(
    run: Run, port: str, settings: Callable[..., str], tmp_path: Path
) -> None:
    ended = run("serve", "--config", settings(auth="token"), "--port-start", port, "--data", "mine")
    assert ended.returncode == 1
    assert f"lmcache-admin token add NAME --file {tmp_path}/mine/tokens" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_files_that_settings_name_are_used_and_none_in_the_data_folder(
    start: Start, client: Any, port: str, settings: Callable[..., str], tmp_path: Path
) -> None:
    config = settings(audit_file=tmp_path / "elsewhere.log", session_key_file=tmp_path / "elsewhere.key")
    start("--config", config, "--port-start", port, "--data", "mine")
    assert (tmp_path / "elsewhere.log").exists()
    assert (tmp_path / "elsewhere.key").exists()
    assert not (tmp_path / "mine" / "audit.log").exists()
    assert not (tmp_path / "mine" / "session.key").exists()


@pytest.mark.parametrize("variable", [False, True])
def test_s33_null_for_the_audit_file_means_memory_only(
    start: Start, client: Any, port: str, settings: Callable[..., str], tmp_path: Path, variable: bool
) -> None:
    config = settings() if variable else settings(audit_file=None, auth="off")
    named = {"LMCACHE_INTERNAL_API_SERVER_AUDIT_FILE": str(tmp_path / "other.log")} if variable else {}
    start("--config", config, "--port-start", port, "--data", "mine", **named)
    assert not (tmp_path / "mine" / "audit.log").exists()
    if not variable:
        assert client(int(port)).get("/audit").json()["kept"] == "in memory"


def test_s4_token_file_in_the_data_folder_that_others_may_read_stops_the_start(
    run: Run, port: str, settings: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir(mode=0o700)
    run("token", "add", "ops", "--role", "viewer", "--file", "mine/tokens")
    (tmp_path / "mine" / "tokens").chmod(0o644)
    ended = run("serve", "--config", settings(auth="token"), "--port-start", port, "--data", "mine")
    assert (ended.returncode, "its mode is 0644; wanted: 0600" in ended.stderr) == (1, True)
