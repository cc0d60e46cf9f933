"""`lmcache-admin api METHOD PATH`: one request to a running service, its body printed unchanged."""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
from dataclasses import dataclass
from urllib.parse import urlsplit

import click

from lmcache_admin.settings import Settings, SettingsError
from lmcache_admin.settings_file import load_settings_file

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")
REFUSED, WRONG_USE, NO_ANSWER, NOT_ALLOWED, OUT_OF_DATE = 1, 2, 3, 4, 5
WORKER_0 = 1  # offset of worker 0 from port_start


@dataclass(frozen=True)
class Target:
    """Where the service listens.

    Args:
        host, port: TCP address.
        base: Path in front of every path of the service.
        socket_path: Unix socket, instead of TCP.
        secure: Whether to speak TLS.
    """

    host: str = "localhost"
    port: int | None = None
    base: str = ""
    socket_path: str | None = None
    secure: bool = False


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@click.command("api")
@click.argument("method", type=click.Choice(METHODS, case_sensitive=False))
@click.argument("path")
@click.option("--data", metavar="JSON", help="JSON body; - reads it from standard input.")
@click.option("--url", envvar="LMCACHE_ADMIN_URL", help="The service [worker 0 of the settings in use].")
@click.option("--socket", "socket_path", metavar="PATH", help="The service's Unix socket, instead of --url.")
@click.option("--token", envvar="LMCACHE_ADMIN_TOKEN", help="Token, where the service asks for one.")
@click.option("--timeout", type=click.FloatRange(min=0.1), default=30.0, show_default=True, help="Seconds.")
def command(
    method: str,
    path: str,
    data: str | None,
    url: str | None,
    socket_path: str | None,
    token: str | None,
    timeout: float,
) -> int:
    """Send one request to a running service.

    The answer's body goes to standard output as it came. Exit codes: 0 done, 1 the service said no, 2 wrong use,
    3 no answer, 4 not allowed, 5 out of date.
    """
    if not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path:
        raise click.UsageError(f"PATH {path!r}: it must begin with / and hold no space; write others as %20")
    target = _target(url, socket_path)
    body = _body(data)
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        status, reason, answer = _exchange(target, method.upper(), path, body, headers, timeout)
    except (OSError, http.client.HTTPException) as error:
        click.echo(f"Error: no answer from {_name(target)}: {str(error) or type(error).__name__}", err=True)
        return NO_ANSWER
    _write(answer)
    if status >= 400:
        click.echo(f"{status} {reason}", err=True)
    return _exit_code(status)


def _target(url: str | None, socket_path: str | None) -> Target:
    if socket_path is not None:
        return Target(socket_path=socket_path)
    if not url:
        return _own_worker()
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise click.UsageError(f"--url {url!r}: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise click.UsageError("--url: it must look like http://127.0.0.1:7000, without user and password")
    return Target(parts.hostname, port, parts.path.rstrip("/"), secure=parts.scheme == "https")


def _own_worker() -> Target:
    """Worker 0 of the settings in use: LMCACHE_CONFIG_FILE and the environment."""
    try:
        file = os.environ.get("LMCACHE_CONFIG_FILE")
        settings = Settings.from_mapping(load_settings_file(file) if file else {})
    except SettingsError as error:
        raise click.UsageError(str(error)) from None
    port = settings.port_start + WORKER_0
    if settings.socket_path_prefix is not None:
        return Target(socket_path=f"{settings.socket_path_prefix}_{port}")
    return Target({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host), port)  # noqa: S104 - compared


def _body(data: str | None) -> bytes | None:
    if data is None:
        return None
    text = sys.stdin.read() if data == "-" else data
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"--data is not JSON: {error}") from None
    return text.encode()


def _exchange(
    target: Target, method: str, path: str, body: bytes | None, headers: dict[str, str], timeout: float
) -> tuple[int, str, bytes]:
    connection: http.client.HTTPConnection
    if target.socket_path is not None:
        connection = UnixConnection(target.socket_path, timeout)
    elif target.secure:
        connection = http.client.HTTPSConnection(target.host, target.port, timeout=timeout)
    else:
        connection = http.client.HTTPConnection(target.host, target.port, timeout=timeout)
    try:
        connection.request(method, target.base + path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.reason, answer.read()
    finally:
        connection.close()


def _write(answer: bytes) -> None:
    sys.stdout.buffer.write(answer)
    if sys.stdout.isatty() and not answer.endswith(b"\n"):
        sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()


def _exit_code(status: int) -> int:
    if status < 400:
        return 0
    return {401: NOT_ALLOWED, 403: NOT_ALLOWED, 409: OUT_OF_DATE}.get(status, REFUSED)


def _name(target: Target) -> str:
    return target.socket_path or f"{target.host}:{target.port or (443 if target.secure else 80)}"
