"""`lmcache-admin api`: what it sends, what it prints, and its exit codes, against real servers."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from lmcache_admin.cli import main

Capture = pytest.CaptureFixture[bytes]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LMCACHE_ADMIN_URL", "LMCACHE_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)


def test_the_body_of_the_answer_is_printed_unchanged(service: Any, capsysbinary: Capture) -> None:
    assert main(["api", "GET", "/freeze/status", "--socket", service.target]) == 0
    printed = capsysbinary.readouterr()
    assert printed.out == service.get("/freeze/status").body
    assert printed.err == b""


def test_a_change_reaches_the_engine(service: Any, capsysbinary: Capture) -> None:
    assert main(["api", "put", "/freeze/enable", "--socket", service.target]) == 0
    assert service.get("/freeze/status").json()["freeze"] is True
    capsysbinary.readouterr()


def test_data_is_sent_as_json(service: Any, capsysbinary: Capture) -> None:
    body = json.dumps({"min_retrieve_tokens": 3})
    assert main(["api", "POST", "/conf", "--data", body, "--socket", service.target]) == 0
    assert service.manager.config.min_retrieve_tokens == 3
    capsysbinary.readouterr()


def test_data_may_come_from_standard_input(
    service: Any, capsysbinary: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('{"min_retrieve_tokens": 4}'))
    assert main(["api", "POST", "/conf", "--data", "-", "--socket", service.target]) == 0
    assert service.manager.config.min_retrieve_tokens == 4
    capsysbinary.readouterr()


def test_the_url_may_stand_in_the_environment(
    serve: Callable[..., Any], capsysbinary: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMCACHE_ADMIN_URL", f"http://127.0.0.1:{serve(tcp=True).server.port}")
    assert main(["api", "GET", "/healthz"]) == 0
    capsysbinary.readouterr()


def test_without_a_url_it_asks_worker_0_of_the_settings_in_use(
    serve: Callable[..., Any], capsysbinary: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = serve(tcp=True)
    monkeypatch.setenv("LMCACHE_INTERNAL_API_SERVER_PORT_START", str(running.server.port - 1))
    assert main(["api", "GET", "/freeze/status"]) == 0
    assert capsysbinary.readouterr().out == running.get("/freeze/status").body


def test_a_refusal_is_exit_code_1_with_the_body_and_the_status(service: Any, capsysbinary: Capture) -> None:
    assert main(["api", "GET", "/no/such/path", "--socket", service.target]) == 1
    printed = capsysbinary.readouterr()
    assert printed.out == service.get("/no/such/path").body
    assert printed.err.startswith(b"404 ")


def test_read_only_is_exit_code_4(serve: Callable[..., Any], capsysbinary: Capture) -> None:
    running = serve(extra={"read_only": True})
    assert main(["api", "PUT", "/freeze/enable", "--socket", running.target]) == 4
    assert capsysbinary.readouterr().err.startswith(b"403 ")


def test_nobody_there_is_exit_code_3(tmp_path: Any, capsysbinary: Capture) -> None:
    assert main(["api", "GET", "/healthz", "--socket", str(tmp_path / "nobody")]) == 3
    assert b"no answer from" in capsysbinary.readouterr().err


def test_a_server_that_says_nothing_is_exit_code_3(capsysbinary: Capture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert main(["api", "GET", "/healthz", "--url", url, "--timeout", "0.2"]) == 3
    assert b"timed out" in capsysbinary.readouterr().err


WRONG = [
    ["GET", "healthz"],
    ["GET", "/a path"],
    ["GET", "/a\r\nX: y"],
    ["FETCH", "/healthz"],
    ["POST", "/conf", "--data", "{"],
    ["GET", "/healthz", "--url", "ftp://127.0.0.1"],
    ["GET", "/healthz", "--url", "http://127.0.0.1:port"],
    ["GET", "/healthz", "--url", "http://user:hunter2@127.0.0.1"],
]


@pytest.mark.parametrize("arguments", WRONG)
def test_wrong_use_is_exit_code_2(arguments: list[str], capsysbinary: Capture) -> None:
    assert main(["api", *arguments]) == 2
    assert b"hunter2" not in capsysbinary.readouterr().err
