"""A real S3 server for a test: moto's, in a process of its own on a loopback port."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

CEILING = 60.0
PROGRAM = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", int(sys.argv[1]), verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
server.stop()
"""


class S3Server:
    """An S3 server that keeps objects in memory."""

    access_key, secret_key = "AKIAEXAMPLE", "example-secret"

    def __init__(self) -> None:
        if importlib.util.find_spec("moto") is None:
            pytest.skip("moto is not installed")
        self.port = 0
        self.start()

    @property
    def host(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, empty, at the same port as before."""
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def stop(self) -> None:
        """Stop it, its content with it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        end = time.monotonic() + CEILING
        self._process.wait(end - time.monotonic())
        self._process.stdout.close()

    def client(self) -> Any:
        """A client of botocore's, as another program would use."""
        import botocore.session

        login = {"aws_access_key_id": self.access_key, "aws_secret_access_key": self.secret_key}
        session = botocore.session.get_session()
        return session.create_client("s3", "us-east-1", endpoint_url=f"http://{self.host}", **login)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A running server for the whole run; a test uses a bucket of its own."""
    server = S3Server()
    yield server
    server.stop()
