"""`lmcache-admin serve` as an operator meets it: a process, its output, its signals, its exit code."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

P = "internal_api_server_"
Start = Callable[..., Any]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(name="port")
def port_fixture(free_port: Callable[[int], int]) -> str:
    return str(free_port(2))


def pasted(line: str) -> Any:
    """What the shell gives for a line that was printed."""
    if shutil.which("curl") is None:
        raise AssertionError("this test pastes curl lines: curl is missing")
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def opened(fifo: Path) -> int | None:
    """The writing end, which can be had when somebody reads."""
    try:
        return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


def test_it_says_where_scheduler_and_worker_listen(start: Start, port: str) -> None:
    lines = start("--port-start", port).lines
    assert lines[0].split() == ["scheduler", f"http://127.0.0.1:{port}"]
    assert lines[1].split() == ["worker", "0", f"http://127.0.0.1:{int(port) + 1}"]


def test_the_three_curl_lines_work_when_pasted(start: Start, port: str, tmp_path: Path) -> None:
    store, retrieve, conf = start("--port-start", port).curl_lines
    assert pasted(store) == {"status": "success", "num_tokens": 512, "num_stored": 512}
    assert pasted(retrieve) == {"status": "success", "num_tokens": 512, "num_retrieved": 512}
    assert pasted(conf)["local_disk"] == str(tmp_path / ".local/state/lmcache-admin/chunks")


def test_the_curl_lines_work_on_sockets_too(start: Start, tmp_path: Path) -> None:
    started = start("--socket-prefix", str(tmp_path / "with space" / "api"), "--port-start", "6999")
    assert started.lines[0].endswith("/with space/api_6999")
    assert [pasted(line).get("status") for line in started.curl_lines[:2]] == ["success", "success"]
    assert started.end() == 0
    assert list((tmp_path / "with space").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(start: Start, port: str, number: int) -> None:
    started = start("--port-start", port)
    assert started.end(number) == 0
    assert started.errors.read_text() == ""


def test_sighup_does_not_end_it(start: Start, port: str, eventually: Callable[..., Any]) -> None:
    started = start("--port-start", port)
    started.process.send_signal(signal.SIGHUP)
    eventually(lambda: "SIGHUP" in started.errors.read_text())
    assert pasted(started.curl_lines[2])["chunk_size"] == 256
    assert started.end() == 0


def test_what_was_stored_is_found_by_the_next_start(start: Start, port: str) -> None:
    first = start("--port-start", port)
    assert pasted(first.curl_lines[0])["num_stored"] == 512
    assert first.end() == 0
    second = start("--port-start", port)
    assert pasted(second.curl_lines[1])["num_retrieved"] == 512


def test_the_data_folder_is_the_users_own(start: Start, port: str, tmp_path: Path) -> None:
    start("--port-start", port, XDG_STATE_HOME=str(tmp_path / "state"))
    folder = tmp_path / "state" / "lmcache-admin"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / "chunks").is_dir()


def test_flags_win_over_environment_and_file(start: Start, port: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(f"chunk_size: 16\n{P}port_start: 1\n")
    lines = start(
        *("--config", str(file), "--port-start", port, "--data", "mine"),
        LMCACHE_INTERNAL_API_SERVER_PORT_START="2",
    ).lines
    assert f":{port}" in lines[0]
    assert lines[2].split() == ["data", str(tmp_path / "mine")]


def test_the_environment_wins_over_the_file(start: Start, port: str) -> None:
    assert f":{port}" in start(LMCACHE_INTERNAL_API_SERVER_PORT_START=port).lines[0]


def test_an_empty_variable_counts_as_not_set(start: Start, port: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(f"{P}port_start: {port}\n")
    lines = start("--config", str(file), LMCACHE_INTERNAL_API_SERVER_PORT_START="").lines
    assert f":{port}" in lines[0]


def test_an_index_list_leaves_the_scheduler_out(start: Start, port: str) -> None:
    started = start("--port-start", port, LMCACHE_INTERNAL_API_SERVER_INCLUDE_INDEX_LIST="1")
    assert started.lines[0].startswith("worker 0")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port)), timeout=10)


def test_the_log_is_json_when_asked_for(start: Start, port: str) -> None:
    started = start("--port-start", port, "--log-level", "info", "--log-format", "json")
    assert started.end() == 0
    entries = [json.loads(line) for line in started.errors.read_text().splitlines()]
    assert {"time", "level", "logger", "thread", "message"} <= entries[0].keys()


@pytest.mark.parametrize("level", ["warning", "critical"])
def test_s70_a_port_that_is_taken_is_one_line_and_exit_code_1(run: Run, port: str, level: str) -> None:
    with socket.create_server(("127.0.0.1", int(port))):
        done = run("serve", "--port-start", port, "--log-level", level)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert port in done.stderr


def test_s1_a_listener_for_everybody_is_exit_code_1(run: Run, port: str) -> None:
    done = run("serve", "--port-start", port, "--host", "0.0.0.0")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    for named in ("0.0.0.0", f"{P}auth", f"{P}allow_insecure", f"{P}socket_path_prefix"):
        assert named in done.stderr


BAD_FILES = [
    ("a: b: c\n", "line 1"),
    ("- a list\n", "it holds a list"),
    (f"{P}port_start: abc\n", f"{P}port_start: 'abc' is not allowed; allowed: an integer from 1 to 65535"),
    (f"{P}port_start: 0\n", f"{P}port_start: 0 is not allowed; allowed: an integer from 1 to 65535"),
    (f"{P}port_start: 65535\n", "65535"),
    (
        f"extra_config: {{{P}metrics_host: 127.0.0.1, {P}metrics_port_start: 65535}}\n",
        f"{P}metrics_port_start: 65535 is not allowed; allowed: an integer from 1 to 65534",
    ),
    (f"{P}include_index_list: [0, one]\n", "'one' is not allowed"),
    (f"{P}include_index_list: [7]\n", "neither 0 (scheduler) nor 1 (worker 0)"),
    (f"{P}socket_path_prefix: /tmp/{'s' * 100}\n", "at most 107 bytes"),
    ("chunk_size: many\n", "chunk_size"),
    ("max_local_cpu_size: 1.0e+300\n", "max_local_cpu_size: 1e+300 is not allowed; allowed: a size in GB from 0 to"),
    ("max_local_disk_size: 1e300\n", "max_local_disk_size: '1e300' is not allowed; allowed: a size in GB from 0 to"),
    (f"extra_config: {{{P}auht: off}}\n", f"{P}auth"),
    (f"{P}host: no\n", "YAML reads it as False"),
]


@pytest.mark.parametrize(("content", "named"), BAD_FILES, ids=[named[-40:] for _, named in BAD_FILES])
def test_a_bad_settings_file_is_one_line_and_exit_code_2(run: Run, tmp_path: Path, content: str, named: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(content)
    done = run("serve", "--config", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert named in done.stderr


def test_a_settings_file_that_is_absent_is_exit_code_2(run: Run) -> None:
    done = run("serve", "--config", "nowhere.yaml")
    assert done.returncode == 2
    assert "nowhere.yaml" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["--log-format", "xml"], ["--no-such-flag"], ["more"]],
)
def test_wrong_use_is_exit_code_2(run: Run, arguments: list[str]) -> None:
    assert run("serve", *arguments).returncode == 2


@pytest.mark.parametrize("port", ["0", "65536", "http", ""])
def test_a_port_start_that_cannot_be_is_one_line_and_exit_code_2(run: Run, port: str) -> None:
    done = run("serve", "--port-start", port)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"Error: {P}port_start: {port!r} is not allowed; allowed: an integer from 1 to 65535\n"


def test_the_level_trace_starts(start: Start, port: str) -> None:
    assert start("--port-start", port, "--log-level", "trace").end() == 0


def test_a_log_level_that_does_not_exist_is_exit_code_2(run: Run) -> None:
    done = run("serve", "--log-level", "loud")
    assert done.returncode == 2
    assert "critical, error, warning, info, debug, trace" in done.stderr


def test_a_data_folder_that_cannot_be_made_is_one_line_and_exit_code_1(run: Run, tmp_path: Path) -> None:
    # 1, as for a port or a socket's folder: the machine is at fault, not the setting, and a later start may do
    (tmp_path / "file").write_text("")
    done = run("serve", "--data", str(tmp_path / "file" / "below"))
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert "--data" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_comes_while_it_still_reads_settings_ends_it_cleanly(
    begin: Callable[..., subprocess.Popen[str]], eventually: Callable[..., Any], tmp_path: Path, number: int
) -> None:
    file = tmp_path / "settings.yaml"
    os.mkfifo(file)
    process = begin("--config", str(file))
    with os.fdopen(eventually(lambda: opened(file), "the reading of the settings"), "w"):
        process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (0, "", "")


def test_a_file_without_a_disk_size_keeps_chunks_in_the_data_folder(start: Start, port: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("chunk_size: 256\n")
    started = start("--config", str(file), "--port-start", port, "--data", "mine")
    assert pasted(started.curl_lines[0])["num_stored"] == 512
    assert len([path for path in (tmp_path / "mine" / "chunks").rglob("*") if path.is_file()]) == 2
    assert started.end() == 0
    assert started.errors.read_text() == ""


@pytest.mark.parametrize("place", ["file", "environment"])
def test_a_disk_size_of_0_means_no_disk_and_it_says_so(start: Start, port: str, tmp_path: Path, place: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("max_local_disk_size: 0\n" if place == "file" else "chunk_size: 256\n")
    variables = {} if place == "file" else {"LMCACHE_MAX_LOCAL_DISK_SIZE": "0"}
    started = start("--config", str(file), "--port-start", port, "--data", "mine", **variables)
    assert started.lines[2].split()[0] == "data"
    assert "no disk" in started.lines[2]
    assert "mine" not in started.lines[2]
    assert started.end() == 0
    assert started.errors.read_text() == ""


def test_a_disk_of_the_operators_own_is_what_it_says(start: Start, port: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(f"local_disk: {tmp_path / 'elsewhere'}\nmax_local_disk_size: 0.5\n")
    started = start("--config", str(file), "--port-start", port)
    assert started.lines[2].split() == ["data", str(tmp_path / "elsewhere")]
    assert pasted(started.curl_lines[2])["local_disk"] == str(tmp_path / "elsewhere")


def test_a_disk_of_the_operators_own_without_a_size_is_one_warning(start: Start, port: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(f"local_disk: {tmp_path / 'elsewhere'}\n")
    started = start("--config", str(file), "--port-start", port)
    assert "no disk" in started.lines[2]
    assert started.end() == 0
    (line,) = started.errors.read_text().splitlines()
    assert "max_local_disk_size" in line
