"""Pieces of a lookup by themselves: hashed prompts, frames, the cap on hits, the place of a socket."""

from __future__ import annotations

import os
from typing import Any

import pytest

from lmcache_admin.engine import Configuration, ConfigurationError
from lmcache_admin.engine.lookup import HashedTokens, HitLimitLookupClient, LookupClient
from lmcache_admin.engine.lookup.client import _message
from lmcache_admin.engine.lookup.frames import MAX_FRAME, FrameError, FrameReader, frame
from lmcache_admin.engine.lookup.place import FOLDER, lookup_folder, socket_path


def test_a_long_prompt_is_hashed_as_far_as_one_message_holds() -> None:
    prompt = HashedTokens.of(range(40_000), 1, partial=False)
    assert (len(prompt.hashes), prompt.last, prompt.tokens) == (32_768, 1, 40_000)
    longest = HashedTokens([-(2**63)] * 32_768, 256, 256, 32_768 * 256)
    assert len(frame(_message(longest, {}))) <= MAX_FRAME


@pytest.mark.parametrize(("partial", "chunks", "last"), [(False, 2, 16), (True, 3, 8)])
def test_a_last_short_chunk_is_hashed_on_demand(partial: bool, chunks: int, last: int) -> None:
    prompt = HashedTokens.of(list(range(40)), 16, partial=partial)
    assert (len(prompt.hashes), prompt.last, prompt.tokens) == (chunks, last, 40)


def test_messages_come_through_in_any_pieces() -> None:
    data = frame({"a": 1}) + frame({"b": [2]})
    for size in (1, 3, 7, len(data)):
        reader = FrameReader()
        found: list[Any] = []
        for start in range(0, len(data), size):
            found += reader.feed(data[start : start + size])
        assert found == [{"a": 1}, {"b": [2]}]
        assert not reader.begun


def test_a_message_that_is_too_long_is_not_sent() -> None:
    with pytest.raises(FrameError, match="1048576 are allowed"):
        frame({"a": "x" * MAX_FRAME})


class Found(LookupClient):
    """Finds what it is told to find."""

    def __init__(self, tokens: int, chunk_size: int) -> None:
        super().__init__({}, chunk_size, 1.0)
        self._tokens = tokens

    def lookup_hashed(self, prompt: HashedTokens, lookup_id: str, request_configs: Any = None) -> int:
        return self._tokens


@pytest.mark.parametrize(
    ("found", "miss_ratio", "capped"),
    [
        (100, 0.0, 100),  # no cap
        (100, 0.35, 60),  # 65 of 100 tokens, 6 chunks of 10
        (60, 0.35, 60),  # below the cap
        (70, 0.35, 60),
        (100, 1.0, 0),
        (0, 0.5, 0),
    ],
)
def test_hits_are_capped_in_whole_chunks(found: int, miss_ratio: float, capped: int) -> None:
    client = HitLimitLookupClient(Found(found, 10), miss_ratio)
    assert client.lookup(list(range(100)), "r") == capped


def test_sockets_of_other_engines_workers_and_folders_are_others() -> None:
    places = {socket_path(folder, engine, worker) for folder in "ab" for engine in "xy" for worker in (0, 1)}
    assert len(places) == 8
    assert len(os.path.basename(socket_path("/f", "x" * 1000, 12))) == len("lookup-0123456789abcdef-12")


@pytest.mark.parametrize("folder", ["", 5, "a\0b", ["x"]])
def test_a_folder_that_is_no_path_is_refused_at_the_start(folder: object) -> None:
    with pytest.raises(ConfigurationError, match=FOLDER):
        Configuration.from_mapping({"extra_config": {FOLDER: folder}}, {})


def test_a_folder_may_begin_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert lookup_folder({FOLDER: "~/run"}) == "/home/somebody/run"
