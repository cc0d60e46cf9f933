"""The audit in the hands of others: forged, cut, poisoned, and locked (S28, S29, S32)."""

import fcntl
import json

import pytest

from lmcache_admin.security import private_files
from lmcache_admin.security.audit_chain import BrokenChain
from lmcache_admin.security.audit_file import AuditFile
from lmcache_admin.security.audit_verify import verify_files
from lmcache_admin.security.tokens import new_token


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.log"


def opened(path):
    return AuditFile(str(path), 10**9, 10)


def filled(path, count=5):
    file = opened(path)
    for number in range(count):
        file.append({"kind": "intent", "id": str(number)})
    file.close()


def lines(path):
    return path.read_bytes().splitlines(keepends=True)


def audited(serve, path, **extra):
    return serve(extra={"audit_file": str(path), **extra})


FORGED = {"lmcache_admin_audit": 1, "seq": 3, "kind": "intent", "id": "f0", "actor": "uid 4711"}


@pytest.mark.parametrize("number", [1, 3, 6])
def test_s28_forged_line_is_found_wherever_it_is_put_and_not_shown(path, number):
    filled(path)
    text = lines(path)
    text.insert(number, json.dumps(FORGED).encode() + b"\n")
    path.write_bytes(b"".join(text))
    with pytest.raises(BrokenChain):
        verify_files(path)
    assert "f0" not in [record["id"] for record in opened(path).newest(100)]


def test_s28_head_that_is_gone_is_found(path):
    filled(path)
    path.with_name("audit.log.head").unlink()
    with pytest.raises(BrokenChain, match="head: it is missing"):
        verify_files(path)


def test_s28_chain_that_somebody_made_anew_is_found_by_its_head(path, tmp_path):
    filled(path)
    other = tmp_path / "other.log"
    filled(other, 4)
    file = opened(other)
    file.append({"kind": "intent", "id": "forged"})
    file.close()
    path.write_bytes(other.read_bytes())
    with pytest.raises(BrokenChain, match="line 5 is not the one that was written"):
        verify_files(path)


def test_s28_lines_beyond_the_head_are_found(path):
    filled(path)
    head = path.with_name("audit.log.head")
    before = head.read_bytes()
    filled(path, 3)
    head.write_bytes(before)
    with pytest.raises(BrokenChain, match="lines 6 to 8 were not written by this service"):
        verify_files(path)


POISON = [b'{"seq":1e400,"hash":"x"}', b"[" * 200_000, b'{"seq":"7","hash":"a b c"}', b"null"]


@pytest.mark.parametrize("poison", POISON)
def test_s32_line_that_is_none_is_named_and_lines_go_on(serve, path, poison):
    running = audited(serve, path)
    running.put("/freeze/enable")
    with path.open("ab") as file:
        file.write(poison + b"\n")
    assert running.put("/freeze/disable").status == 200
    assert running.get("/audit").status == 200
    with pytest.raises(BrokenChain):
        verify_files(path)


def test_s29_lock_that_another_process_holds_stops_changes_and_no_reads(serve, path, tmp_path):
    tokens = tmp_path / "tokens"
    secret, token = new_token("ops", "admin")
    private_files.write_private(str(tokens), token.line.encode())
    running = audited(serve, path, auth="token", token_file=str(tokens))
    good = {"Authorization": f"Bearer {secret}"}
    with path.with_name("audit.log.head").open("rb") as head:
        fcntl.flock(head, fcntl.LOCK_EX)
        for _ in range(8):
            assert running.get("/version").status == 401
            assert running.request("GET", "/version", headers=good).status == 200
        refused = running.request("PUT", "/freeze/enable", headers=good)
        assert (refused.status, "holds the audit's lock" in refused.json()["message"]) == (503, True)
    assert running.request("PUT", "/freeze/enable", headers=good).status == 200
