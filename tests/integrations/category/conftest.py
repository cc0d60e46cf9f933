"""Three hosts for the same tests: the embedded engine, a real LMCache with our server, and one with LMCache's own.

That LMCache's own server passes as well shows that what a test asks for is the contract.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

OWN = ("-m", "lmcache.v1.standalone", "--worker-id", "0")
SERVE = ("-m", "lmcache_admin", "serve", "--data", "{folder}/data")
COMMANDS = {"embedded": SERVE, "lmcache": ("-m", "lmcache_admin", "run", *OWN), "own": OWN}
OURS = ["embedded", pytest.param("lmcache", marks=pytest.mark.lmcache)]
KINDS = [*OURS, pytest.param("own", marks=pytest.mark.lmcache)]
BACKENDS = ("LocalCPUBackend", "LocalDiskBackend", "RemoteBackend")


@dataclass(frozen=True)
class Host:
    """A host and the client of one server in it.

    Args:
        kind: `embedded`, `lmcache` or `own`.
        process: Where it runs.
        redis: What its remote backend talks to; None where it has none.
    """

    kind: str
    process: Any
    redis: Any = None

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Send a request, with `body` as JSON."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is None:
            return self.process.request(method, path, None, sent)
        return self.process.request(
            method, path, json.dumps(body).encode(), {"Content-Type": "application/json", **sent}
        )

    def value(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON value of an answer, which must be a success."""
        answer = self.ask(method, path, body)
        assert answer.status == 200, answer
        return answer.json()

    def store(self, tokens: str) -> Any:
        """Store tokens `start,end`."""
        return self.value("POST", f"/cache/store?tokens_mock={tokens}")

    def found(self, tokens: str) -> int:
        """How many of these tokens a retrieve finds."""
        count: int = self.value("POST", f"/cache/retrieve?tokens_mock={tokens}")["num_retrieved"]
        return count

    def clear_memory(self) -> int:
        """Clear the memory alone; returns the number of tokens."""
        count: int = self.value("DELETE", "/cache/clear?locations=LocalCPUBackend")["num_removed"]
        return count

    def restore(self) -> None:
        """Set back what a test may have switched."""
        for path in ("/freeze/disable", "/hot_cache/enable"):
            self.value("PUT", path)
        for name in self.value("GET", "/bypass/list")["bypassed_backends"]:
            self.value("PUT", f"/bypass/remove?backend_name={name}")


@pytest.fixture(scope="session")
def fresh_host(request: pytest.FixtureRequest, start_process: Callable[..., Any]) -> Callable[[str], Host]:
    """Start a worker with memory, disk and a Redis of its own: `fresh_host(kind)`; it may not answer yet."""

    def start(kind: str) -> Host:
        python = sys.executable if kind == "embedded" else request.getfixturevalue("lmcache_python")
        redis = request.getfixturevalue("make_redis_server")()
        remote = {"remote_url": redis.url.removesuffix("/0"), "remote_serde": "naive"}
        return Host(kind, start_process([python, *COMMANDS[kind]], **remote), redis)

    return start


def together(kind: str) -> tuple[str, ...]:
    """The kinds that are started with one: the tests need both of LMCache's, and one takes five seconds."""
    return (kind,) if kind == "embedded" else ("lmcache", "own")


@pytest.fixture(scope="session")
def hosts(fresh_host: Callable[[str], Host]) -> Iterator[Callable[[str], Host]]:
    """The same host for the same kind: `hosts(kind)`."""
    started: dict[str, Host] = {}

    def host(kind: str) -> Host:
        if kind not in started:
            started.update({name: fresh_host(name) for name in together(kind)})
        started[kind].process.wait_until_it_answers()
        return started[kind]

    yield host
    if "own" in started:  # with a Redis, LMCache 0.5.6 does not end by itself
        started["own"].process.process.kill()


@pytest.fixture(params=KINDS)
def host(request: pytest.FixtureRequest, hosts: Callable[[str], Host]) -> Iterator[Host]:
    """Each host in turn, as it was at its start but for what is stored."""
    chosen = hosts(request.param)
    yield chosen
    chosen.restore()


@pytest.fixture(params=OURS)
def our_host(request: pytest.FixtureRequest, hosts: Callable[[str], Host]) -> Iterator[Host]:
    """Each host with our server, for what LMCache's own does not do."""
    chosen = hosts(request.param)
    yield chosen
    chosen.restore()


@pytest.fixture(scope="session")
def role_hosts(
    request: pytest.FixtureRequest, start_process: Callable[..., Any]
) -> Callable[[str], tuple[Host, Host]]:
    """A scheduler and a worker in one process: `role_hosts(kind)`; the same ones for the same kind."""
    started: dict[str, tuple[Host, Host]] = {}
    script = str(Path(__file__).with_name("roles.py"))

    def start(kind: str) -> tuple[Host, Host]:
        python = sys.executable if kind == "embedded" else request.getfixturevalue("lmcache_python")
        worker = start_process([python, script, kind], **STATISTICS)
        return Host(kind, replace(worker, target=worker.target - 1)), Host(kind, worker)

    def host(kind: str) -> tuple[Host, Host]:
        if kind not in started:
            started.update({name: start(name) for name in together(kind)})
        started[kind][0].process.wait_until_it_answers()  # the scheduler is the last
        return started[kind]

    return host


#: A scheduler that counts chunks from the start, in little memory.
STATISTICS = {
    "enable_chunk_statistics": True,
    "chunk_statistics_auto_start_statistics": True,
    "extra_config": {
        "internal_api_server_local_users": "any",
        "chunk_statistics_mem_bf_expected_chunks": 1000,
    },
}

_starts = itertools.count(0, 100_000)


@pytest.fixture
def tokens() -> Callable[[int], str]:
    """A range of tokens that nobody else has: `tokens(40)`."""

    def some(count: int) -> str:
        start = next(_starts)
        return f"{start},{start + count}"

    return some
