"""What is stored, and where: store, retrieve, clear, freeze, hot cache, bypass, with memory, disk and a real Redis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

CPU, DISK, REMOTE = "LocalCPUBackend", "LocalDiskBackend", "RemoteBackend"
Tokens = Callable[[int], str]
Eventually = Callable[..., Any]


def everywhere(host: Any, tokens: str, eventually: Eventually) -> None:
    """Store tokens and wait until disk and Redis have them: LMCache answers before that."""
    host.store(tokens)
    start, end = map(int, tokens.split(","))
    for kept, hidden in ((DISK, REMOTE), (REMOTE, DISK)):
        host.value("PUT", f"/bypass/add?backend_name={hidden}")

        def found() -> bool:
            host.clear_memory()
            return bool(host.found(tokens) == (end - start) // 16 * 16)

        eventually(found, f"the chunks in {kept}")
        host.value("PUT", f"/bypass/remove?backend_name={hidden}")


def test_a_store_keeps_whole_chunks(host: Any, tokens: Tokens) -> None:
    some = tokens(40)
    answer = host.store(some)
    assert (answer["status"], answer["num_tokens"]) == ("success", 40)
    assert host.found(some) == 32


def test_what_nobody_stored_is_not_found(host: Any, tokens: Tokens) -> None:
    answer = host.value("POST", f"/cache/retrieve?tokens_mock={tokens(40)}")
    assert answer == {"status": "success", "num_tokens": 40, "num_retrieved": 0}


def test_a_store_reaches_memory_disk_and_redis(host: Any, tokens: Tokens, eventually: Eventually) -> None:
    some = tokens(64)
    everywhere(host, some, eventually)
    assert host.found(some) == 64


def test_clear_of_the_memory_counts_tokens_and_leaves_disk_and_redis(
    host: Any, tokens: Tokens, eventually: Eventually
) -> None:
    some = tokens(48)
    everywhere(host, some, eventually)
    host.clear_memory()

    def brought_back() -> bool:
        return bool(host.found(some) == 48 and host.clear_memory() == 48)

    eventually(brought_back, "the chunks in memory again")  # LMCache puts them there a little later
    assert host.found(some) == 48


def test_clear_of_backends_that_do_not_exist_removes_nothing(host: Any, tokens: Tokens) -> None:
    some = tokens(32)
    host.store(some)
    for query in ("locations=Nobody", "locations=", f"locations={CPU},{DISK}"):
        answer = host.value("DELETE", f"/cache/clear?{query}")
        assert (answer["status"], answer["num_removed"]) == ("success", 0)
    assert host.found(some) == 32


def test_clear_takes_a_request_configuration(host: Any) -> None:
    assert host.value("DELETE", "/cache/clear?locations=Nobody", {"lmcache.tag.user": "a"})["num_removed"] == 0
    assert host.ask("DELETE", "/cache/clear", [1]).status == 422


@pytest.mark.parametrize("bad", ["", "7", "5,1", "5,5", "a,b", "1,2,3", "1.5,4", "1e3,2000", "0x1,40", "1,", "nan,4"])
@pytest.mark.parametrize("action", ["store", "retrieve"])
def test_a_bad_token_range_is_400(host: Any, action: str, bad: str) -> None:
    answer = host.ask("POST", f"/cache/{action}?tokens_mock={bad}")
    assert answer.status == 400
    assert answer.json()["error"] == ("Invalid tokens_mock format" if bad else "Missing parameters")


def test_a_frozen_engine_takes_nothing_in_and_reads_its_memory_only(
    host: Any, tokens: Tokens, eventually: Eventually
) -> None:
    on_disk, never = tokens(32), tokens(32)
    everywhere(host, on_disk, eventually)
    host.clear_memory()
    assert host.value("PUT", "/freeze/enable")["freeze"] is True
    assert host.value("GET", "/freeze/status")["freeze"] is True
    assert host.store(never)["num_tokens"] == 32
    assert [host.found(never), host.found(on_disk)] == [0, 0]
    assert host.value("PUT", "/freeze/disable")["freeze"] is False
    assert [host.found(never), host.found(on_disk)] == [0, 32]


def test_the_hot_cache_drops_its_content_when_it_is_switched_off(
    host: Any, tokens: Tokens, eventually: Eventually
) -> None:
    some = tokens(32)
    everywhere(host, some, eventually)
    for name in (DISK, REMOTE):
        host.value("PUT", f"/bypass/add?backend_name={name}")
    assert host.found(some) == 32
    assert host.value("PUT", "/hot_cache/disable")["hot_cache"] is False
    assert host.value("GET", "/hot_cache/status")["hot_cache"] is False
    assert host.found(some) == 0
    assert host.clear_memory() == 0
    assert host.value("PUT", "/hot_cache/enable")["hot_cache"] is True
    assert host.found(some) == 0  # it is empty


def test_a_bypassed_backend_is_neither_read_nor_written(host: Any, tokens: Tokens, eventually: Eventually) -> None:
    before, during = tokens(32), tokens(32)
    everywhere(host, before, eventually)
    for name in (DISK, REMOTE):
        host.value("PUT", f"/bypass/add?backend_name={name}")
    host.store(during)
    host.clear_memory()
    assert [host.found(before), host.found(during)] == [0, 0]
    for name in (DISK, REMOTE):
        host.value("PUT", f"/bypass/remove?backend_name={name}")
    assert [host.found(before), host.found(during)] == [32, 0]


def test_bypasses_are_listed_and_lifted(host: Any) -> None:
    added = host.value("PUT", f"/bypass/add?backend_name={DISK}")
    assert added == {
        "status": "success",
        "backend_name": DISK,
        "bypassed": True,
        "was_already_bypassed": False,
        "bypassed_backends": [DISK],
    }
    assert host.value("PUT", f"/bypass/add?backend_name={DISK}")["was_already_bypassed"] is True
    listed = host.value("GET", "/bypass/list")
    assert (listed["bypassed_backends"], listed["all_backends"]) == ([DISK], [CPU, DISK, REMOTE])
    removed = host.value("PUT", f"/bypass/remove?backend_name={DISK}")
    assert (removed["was_bypassed"], removed["bypassed"], removed["bypassed_backends"]) == (True, False, [])
    assert host.value("PUT", f"/bypass/remove?backend_name={DISK}")["was_bypassed"] is False


@pytest.mark.parametrize("action", ["add", "remove"])
def test_a_bypass_of_nobody_is_400(host: Any, action: str) -> None:
    answer = host.ask("PUT", f"/bypass/{action}?backend_name=Nobody")
    text = f"Backend 'Nobody' not found. Available: ['{CPU}', '{DISK}', '{REMOTE}']"
    assert (answer.status, answer.json()) == (400, {"error": "Unknown backend", "message": text})
    assert host.ask("PUT", f"/bypass/{action}").json()["error"] == "Missing parameter"
