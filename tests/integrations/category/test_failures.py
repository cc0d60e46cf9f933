"""Where the host fails or blocks: our answer says what failed, everything else is answered, and the process lives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

CPU, DISK, REMOTE = "LocalCPUBackend", "LocalDiskBackend", "RemoteBackend"
Tokens = Callable[[int], str]
Eventually = Callable[..., Any]


def answers(host: Any) -> None:
    """What an operator looks at first."""
    assert host.process.process.poll() is None
    for path in ("/healthz", "/version", "/backends", "/freeze/status", "/conf?names=remote_url", "/threads?name=x"):
        assert host.ask("GET", path).status == 200, path
    assert b"lmcache_admin_request" in host.ask("GET", "/metrics").body


@pytest.fixture
def without_redis(our_host: Any) -> Iterator[Any]:
    """A host whose Redis is away, until the test's end or until it calls `start`."""
    our_host.redis.stop()
    yield our_host
    our_host.redis.stop()
    our_host.redis.start()
    our_host.value("POST", f"/backends/{REMOTE}/recreate")


@pytest.fixture
def with_hanging_redis(our_host: Any) -> Iterator[Any]:
    """A host whose Redis takes connections and never answers."""
    our_host.redis.pause()
    yield our_host
    our_host.redis.resume()
    our_host.value("POST", f"/backends/{REMOTE}/recreate")


def test_store_and_retrieve_go_on_in_memory_while_redis_is_away(without_redis: Any, tokens: Tokens) -> None:
    some = tokens(48)
    assert without_redis.store(some)["num_tokens"] == 48
    assert without_redis.found(some) == 48
    assert without_redis.found(tokens(48)) == 0
    answers(without_redis)


def test_the_cache_is_cleared_while_redis_is_away(without_redis: Any, tokens: Tokens) -> None:
    some = tokens(48)
    without_redis.store(some)
    answer = without_redis.ask("DELETE", "/cache/clear")
    if without_redis.kind == "embedded":  # it clears Redis too, where LMCache clears its memory alone
        assert answer.status == 500
        assert answer.json()["message"].endswith("cannot be cleared: it does not answer")
    else:
        assert answer.status == 200
        assert REMOTE in answer.json()["skipped_backends"]
    answers(without_redis)


def test_the_remote_backend_is_closed_and_made_while_redis_is_away(without_redis: Any) -> None:
    assert without_redis.value("DELETE", f"/backends/{REMOTE}")["message"] == f"Backend {REMOTE} closed"
    assert without_redis.ask("POST", "/backends").status in (200, 500)
    answers(without_redis)
    without_redis.redis.start()
    without_redis.value("POST", "/backends")
    assert list(without_redis.value("GET", "/backends")) == [CPU, DISK, REMOTE]


def test_chunks_are_kept_again_when_redis_is_back(without_redis: Any, tokens: Tokens, eventually: Eventually) -> None:
    without_redis.store(tokens(48))
    without_redis.redis.start()
    without_redis.value("PUT", f"/bypass/add?backend_name={DISK}")

    def kept() -> bool:
        some = tokens(32)
        without_redis.store(some)

        def found() -> bool:
            without_redis.clear_memory()
            return bool(without_redis.found(some) == 32)

        return any(found() for _ in range(20))

    eventually(kept, "chunks in Redis again")


def test_everything_else_is_answered_while_redis_hangs(with_hanging_redis: Any, tokens: Tokens) -> None:
    some = tokens(32)
    assert with_hanging_redis.store(some)["num_tokens"] == 32
    answers(with_hanging_redis)
    assert with_hanging_redis.found(some) == 32
    assert with_hanging_redis.value("GET", "/bypass/list")["status"] == "success"
    assert with_hanging_redis.ask("GET", "/readyz").status in (200, 503)


def test_a_hanging_redis_delays_a_retrieve_and_nothing_else(with_hanging_redis: Any, tokens: Tokens) -> None:
    answer = with_hanging_redis.ask("POST", f"/cache/retrieve?tokens_mock={tokens(32)}")
    assert (answer.status, answer.json()["num_retrieved"]) == (200, 0)
    answers(with_hanging_redis)


@pytest.mark.parametrize("tokens_mock", ["0,100000000000", "0,99999999999999999999", "-3000000000,0"])
def test_a_huge_token_range_is_refused_before_any_work(our_host: Any, tokens_mock: str) -> None:
    for action in ("store", "retrieve"):
        answer = our_host.ask("POST", f"/cache/{action}?tokens_mock={tokens_mock}")
        assert (answer.status, set(answer.json())) == (400, {"error", "message"})
    answers(our_host)


@pytest.mark.parametrize("slots", ["[0,999999999999]", "99999999999999999999"])
def test_a_huge_slot_range_is_refused_before_any_work(our_host: Any, slots: str) -> None:
    answer = our_host.ask("GET", f"/cache/kvcache/check?slot_mapping={slots}&chunk_size=2")
    assert (answer.status, set(answer.json())) == (400, {"error", "message"})
    answers(our_host)


@pytest.mark.lmcache
def test_a_lookup_server_that_lmcache_cannot_make_is_told(hosts: Callable[[str], Any]) -> None:
    host = hosts("lmcache")  # the standalone starter has no engine id, which the sockets are named after
    for query in ("", "?dryrun=true"):
        answer = host.ask("POST", f"/lookup/create{query}")
        assert (answer.status, answer.json()["error"]) == (500, "Failed to create lookup")
        assert "engine_id" in answer.json()["message"]
    assert host.value("GET", "/lookup/info") == {"client": "None", "server": "None"}
    answers(host)


@pytest.mark.parametrize("kind", ["embedded", pytest.param("lmcache", marks=pytest.mark.lmcache)])
def test_the_process_ends_on_sigterm_with_a_redis_that_hangs(kind: str, fresh_host: Callable[[str], Any]) -> None:
    host = fresh_host(kind)
    host.process.wait_until_it_answers()
    host.store("0,48")
    host.redis.pause()
    assert host.process.end() == 0
