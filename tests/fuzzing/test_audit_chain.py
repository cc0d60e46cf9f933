"""Any single edit of an audit is found (S33)."""

from __future__ import annotations

import json
import shutil

import pytest
from fuzzed import fuzzed, tried
from hypothesis import given
from hypothesis import strategies as st

from lmcache_admin.security.audit_chain import HEADER, BrokenChain
from lmcache_admin.security.audit_file import AuditFile
from lmcache_admin.security.audit_verify import verify_files

LINES = 12


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """An audit of two files."""
    path = tmp_path_factory.mktemp("audit") / "audit.jsonl"
    file = AuditFile(str(path), 1500, 5)
    for number in range(LINES):
        file.append({"actor": "añ", "ms": 0.1 * number, "arguments": {"x": [number, None, True]}, "text": 'a"\\b'})
    file.close()
    assert verify_files(path) == (1, LINES)
    return path


@pytest.fixture
def copied(written, tmp_path):
    shutil.copytree(written.parent, tmp_path / "copy")
    return tmp_path / "copy" / written.name


def files(path):
    return sorted(one for one in path.parent.glob("audit.jsonl*") if one.suffix not in (".head", ".lock"))


def found_in(path, target, content):
    """Whether verifying finds that `target` holds `content` now; it is put back."""
    before = target.read_bytes()
    assert content != before
    target.write_bytes(content)
    _, broken = tried(lambda: verify_files(path), BrokenChain)
    target.write_bytes(before)
    return broken is not None and str(path) in str(broken)


@fuzzed
@given(data=st.data())
def test_s33_any_bytes_put_in_place_of_others_are_found(copied, data):
    target = data.draw(st.sampled_from(files(copied)))
    content = target.read_bytes()
    begin = data.draw(st.integers(0, len(content) - 1))
    end = data.draw(st.integers(begin, min(len(content), begin + 40)))
    put = data.draw(st.binary(max_size=8) | st.sampled_from([b" ", b"\n", b"\r", b"\0", b"{}\n", HEADER, b'"seq":1,']))
    changed = content[:begin] + put + content[end:]
    # a last line without its end may be one that somebody writes at this moment: it is none yet
    unfinished = target == copied and changed.startswith(content)
    if changed != content and not unfinished:
        assert found_in(copied, target, changed)


@fuzzed
@given(data=st.data())
def test_s33_lines_that_are_removed_repeated_or_moved_are_found(copied, data):
    target = data.draw(st.sampled_from(files(copied)))
    lines = target.read_bytes().splitlines(keepends=True)
    one, other = data.draw(st.tuples(st.integers(0, len(lines) - 1), st.integers(0, len(lines) - 1)))
    removed = lines[:one] + lines[one + 1 :]
    for changed in (
        removed,
        [*lines[:one], lines[one], *lines[one:]],
        [*removed[:other], lines[one], *removed[other:]],
    ):
        if changed != lines:
            assert found_in(copied, target, b"".join(changed))


@fuzzed
@given(data=st.data())
def test_s33_the_same_facts_written_otherwise_are_found(copied, data):
    target = data.draw(st.sampled_from(files(copied)))
    lines = target.read_bytes().splitlines(keepends=True)
    at = data.draw(st.integers(1, len(lines) - 1))
    record = json.loads(lines[at])
    forged = data.draw(
        st.sampled_from(
            [
                json.dumps(record),
                json.dumps(record, sort_keys=True, separators=(",", ":")),
                json.dumps(record, ensure_ascii=False, separators=(",", ":")),
                json.dumps({"hash": record["hash"], **record}, separators=(",", ":")),
                '{"actor":"somebody else",' + json.dumps(record, separators=(",", ":"))[1:],
                '{"lmcache_admin_audit":1,' + json.dumps(record, separators=(",", ":"))[1:],
                '{"lmcache_admin_audit":1,"actor":"somebody else"}',
            ]
        )
    )
    assert found_in(copied, target, b"".join([*lines[:at], forged.encode() + b"\n", *lines[at + 1 :]]))


@pytest.mark.parametrize(
    "line",
    [
        "NaN",
        '{"seq":NaN,"hash":"x"}',
        '{"seq":1e999,"hash":"x"}',
        "[" * 100_000,
        "1" * 5000,
        '{"hash":"x"}',
        "null",
        "[]",
    ],
    ids=str,
)
def test_s33_a_line_that_cannot_be_read_is_found_and_named(copied, line):
    lines = copied.read_bytes().splitlines(keepends=True)
    assert found_in(copied, copied, b"".join([*lines[:-1], line[:100_000].encode() + b"\n"]))
