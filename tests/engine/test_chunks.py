"""Chunk keys equal to LMCache's; the expected texts were made by LMCache 0.5.6 itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import lmcache_admin
from lmcache_admin.engine.chunks import Chunk, ChunkKey, Layout, chunk_hashes


def texts(tokens: list[int], chunk_size: int = 16) -> list[str]:
    return [ChunkKey("standalone_model", 2, 1, one, "half").text for _, _, one in chunk_hashes(tokens, chunk_size)]


def test_keys_of_a_token_run_are_those_of_lmcache() -> None:
    made = texts(list(range(100)))
    assert made[:3] == [
        "standalone_model@2@1@-1a6e12a9bdb7fd70@half",
        "standalone_model@2@1@44f2b6c6f61bea69@half",
        "standalone_model@2@1@-6155cdb9960be4c3@half",
    ]
    assert made[-1] == "standalone_model@2@1@26c317ccb85f1004@half"


def test_keys_of_negative_tokens_are_those_of_lmcache() -> None:
    assert texts(list(range(-40, 40)))[0] == "standalone_model@2@1@-489c9589234e8eaa@half"
    assert texts(list(range(-40, 40)))[-1] == "standalone_model@2@1@75eb8e33055cdac1@half"


@pytest.mark.parametrize("seed", ["0", "1234", "random"])
def test_keys_do_not_depend_on_the_hash_seed(seed: str) -> None:
    code = (
        "from lmcache_admin.engine.chunks import chunk_hashes\n"
        "print([format(one, 'x') for _, _, one in chunk_hashes(range(16), 16)])"
    )
    root = str(Path(lmcache_admin.__file__).parents[1])
    environ = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": root}
    answer = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "['-1a6e12a9bdb7fd70']"


def test_a_partial_chunk_is_left_out_unless_asked_for() -> None:
    assert [end for _, end, _ in chunk_hashes(range(40), 16)] == [16, 32]
    assert [end for _, end, _ in chunk_hashes(range(40), 16, partial=True)] == [16, 32, 40]


def test_a_chunk_hash_depends_on_all_tokens_before_it() -> None:
    first = [one for _, _, one in chunk_hashes([0, *range(1, 32)], 16)]
    second = [one for _, _, one in chunk_hashes([9, *range(1, 32)], 16)]
    assert first[1] != second[1]


@pytest.mark.parametrize(
    "text",
    ["org/model@8@3@-1a6e12a9bdb7fd70@bfloat16", "m@1@0@7f@half@user%a%b@empty%", "m@1@0@0@fp8_e4m3fn"],
)
def test_a_key_text_reads_back_to_itself(text: str) -> None:
    assert ChunkKey.parse(text).text == text


@pytest.mark.parametrize(
    "text", ["", "m@1@0@7f", "m@x@0@7f@half", "m@1@0@zz@half", "m@1@0@7f@nope", "m@1@0@7f@half@tag"]
)
def test_a_text_that_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any of the messages will do
        ChunkKey.parse(text)


def test_a_chunk_refuses_a_payload_of_another_length() -> None:
    with pytest.raises(ValueError, match="need 64 bytes, not 63"):
        Chunk(Layout(2, 1, 4, "half"), 4, bytes(63))
