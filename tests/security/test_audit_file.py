"""The audit on disk: chained, verified, rotated, shared by processes, and whole after every fault (S27 to S33)."""

import json
import multiprocessing
import os
import stat
import threading

import pytest

from lmcache_admin.security import audit_file
from lmcache_admin.security.audit_chain import BrokenChain
from lmcache_admin.security.audit_file import AuditFile
from lmcache_admin.security.audit_verify import verify_files


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.log"


def opened(path, max_bytes=10**9, keep=10):
    return AuditFile(str(path), max_bytes, keep)


def filled(path, count=5, **options):
    file = opened(path, **options)
    for number in range(count):
        file.append({"kind": "intent", "id": str(number)})
    file.close()


def lines(path):
    return path.read_bytes().splitlines(keepends=True)


def test_s28_whole_chain_is_verified(path):
    filled(path, 5)
    assert verify_files(path) == (1, 5)


def test_s28_file_begins_with_its_format(path):
    filled(path, 1)
    assert json.loads(lines(path)[0]) == {"lmcache_admin_audit": 1}


@pytest.mark.parametrize("number", [1, 3, 5])
def test_s28_changed_line_is_found_and_named(path, number):
    filled(path)
    text = lines(path)
    text[number] = text[number].replace(b'"intent"', b'"Intent"')
    path.write_bytes(b"".join(text))
    with pytest.raises(BrokenChain) as caught:
        verify_files(path)
    assert caught.value.place == f"{path}:{number + 1}"
    assert "changed" in caught.value.what


@pytest.mark.parametrize("number", [1, 2, 4, 5])
def test_s28_removed_line_is_found(path, number):
    filled(path)
    text = lines(path)
    del text[number]
    path.write_bytes(b"".join(text))
    with pytest.raises(BrokenChain, match="missing"):
        verify_files(path)


def test_s28_reordered_lines_are_found(path):
    filled(path)
    text = lines(path)
    text[2], text[3] = text[3], text[2]
    path.write_bytes(b"".join(text))
    with pytest.raises(BrokenChain, match="missing or moved"):
        verify_files(path)


def test_s28_removed_file_is_found(path):
    filled(path)
    path.unlink()
    with pytest.raises(BrokenChain, match="lines 1 to 5 are missing"):
        verify_files(path)


def test_s28_line_that_was_made_anew_breaks_the_chain(path, tmp_path):
    filled(path)
    forged = tmp_path / "forged.log"
    filled(forged, 5)
    text = lines(path)
    other = lines(forged)
    text[3] = other[3].replace(b'"id":"2"', b'"id":"9"')
    path.write_bytes(b"".join(text))
    with pytest.raises(BrokenChain):
        verify_files(path)


def test_s28_chain_goes_on_after_a_restart(path):
    filled(path, 3)
    filled(path, 3)
    assert verify_files(path) == (1, 6)


def test_s31_rotation_keeps_the_chain_and_the_wanted_number_of_files(path):
    filled(path, 200, max_bytes=10_000, keep=2)
    kept = sorted(one.name for one in path.parent.iterdir())
    assert kept == ["audit.log", "audit.log.1", "audit.log.2", "audit.log.head"]
    first, last = verify_files(path)
    assert (first > 1, last) == (True, 200)
    path.with_name("audit.log.2").unlink()
    with pytest.raises(BrokenChain, match=f"lines {first} to"):
        verify_files(path)


def test_s31_rotation_from_outside_is_noticed(path):
    file = opened(path)
    file.append({"id": "a"})
    path.rename(path.with_name("audit.log.1"))
    file.append({"id": "b"})
    file.close()
    assert verify_files(path) == (1, 2)
    assert len(lines(path)) == 2


def test_s30_file_is_the_owners_alone_and_no_link_is_followed(path, tmp_path):
    filled(path, 1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    link = tmp_path / "link.log"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):  # noqa: PT011 - ELOOP has no class of its own
        opened(link)
    assert not (tmp_path / "elsewhere").exists()


def test_s32_half_a_line_is_set_aside(path):
    filled(path, 3)
    with path.open("ab") as file:
        file.write(b'{"seq":4,"kind":"int')
    filled(path, 1)
    assert verify_files(path) == (1, 4)
    (torn,) = path.parent.glob("audit.log.torn-*")
    assert torn.read_bytes() == b'{"seq":4,"kind":"int'


def append_many(path, count):
    file = opened(path, 20_000, 1000)
    for number in range(count):
        file.append({"pid": os.getpid(), "id": str(number)})
    os._exit(0)


def test_s28_processes_share_one_chain(path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=append_many, args=(path, 150)) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert verify_files(path) == (1, 600)


def test_s30_threads_that_wait_for_the_medium_share_one_chain(path):
    file = opened(path)
    writers = [threading.Thread(target=file.append, args=({"id": str(n)}, True)) for n in range(16)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    file.close()
    assert verify_files(path) == (1, 16)


def audited(serve, path, **extra):
    return serve(extra={"audit_file": str(path), **extra})


def test_s27_s29_change_has_a_line_before_and_a_line_after_it(serve, path, eventually):
    running = audited(serve, path)
    running.put("/freeze/enable")
    eventually(lambda: len(lines(path)) == 3)
    intent, outcome = (json.loads(line) for line in lines(path)[1:])
    assert (intent["kind"], intent["method"], intent["route"]) == ("intent", "PUT", "/freeze/enable")
    assert (intent["operation"], intent["role"], intent["uid"]) == ("enable freeze mode", "admin", os.getuid())
    assert (outcome["kind"], outcome["outcome"], outcome["status"]) == ("outcome", "done", 200)
    assert outcome["id"] == intent["id"]
    assert outcome["duration_ms"] >= 0


def test_s27_refused_try_has_one_line(serve, path):
    running = audited(serve, path, read_only=True)
    assert running.put("/freeze/enable").status == 403
    (refused,) = (json.loads(line) for line in lines(path)[1:])
    assert (refused["kind"], refused["outcome"], refused["status"]) == ("refused", "refused", 403)


def test_flood_of_refusals_does_not_fill_the_disk(serve, path):
    running = audited(serve, path, read_only=True)
    for _ in range(300):
        running.put("/freeze/enable")
    assert len(lines(path)) < 300


def test_audit_page_shows_the_file_across_a_restart(serve, path):
    first = audited(serve, path)
    first.put("/freeze/enable")
    first.server.stop()
    second = audited(serve, path)
    answer = second.get("/audit").json()
    assert answer["kept"] == "in a file"
    assert [(entry["route"], entry["outcome"]) for entry in answer["entries"]] == [("/freeze/enable", "done")]


def test_s29_change_is_refused_while_the_file_takes_no_line_and_reads_go_on(serve, path, monkeypatch):
    running = audited(serve, path)
    file = running.server.service.audit._file
    os.close(file._file)
    file._file = os.open("/dev/full", os.O_RDWR)  # a device that is always full
    file._inode, file._end = path.stat().st_ino, path.stat().st_size
    refused = running.put("/freeze/enable")
    assert refused.status == 503
    assert "No space left" in refused.json()["message"]
    assert running.get("/freeze/status").json()["freeze"] is False
    assert running.get("/readyz").json()["status"] == "degraded"
    file._inode = -1  # there is room again
    assert running.put("/freeze/enable").status == 200
    assert running.get("/readyz").json()["status"] == "ok"
    assert verify_files(path)[1] >= 2


def test_s29_change_goes_on_where_the_audit_is_not_required(serve, path):
    running = audited(serve, path, audit_required=False)
    file = running.server.service.audit._file
    os.close(file._file)
    file._file = os.open("/dev/full", os.O_RDWR)
    file._inode, file._end = path.stat().st_ino, path.stat().st_size
    assert running.put("/freeze/enable").status == 200


DESTRUCTIVE = ["DELETE /cache/clear", "PUT /hot_cache/disable", "POST /backends/LocalCPUBackend/recreate"]


@pytest.mark.parametrize("asked", [*DESTRUCTIVE, "PUT /freeze/enable"])
def test_s30_intent_of_what_cannot_be_had_back_is_on_the_medium_before_it_begins(serve, path, monkeypatch, asked):
    running, done = audited(serve, path), []
    engine, storage = running.manager.lmcache_engine, running.manager.lmcache_engine.storage_manager
    real = os.fsync
    monkeypatch.setattr(audit_file.os, "fsync", lambda descriptor: (done.append("synced"), real(descriptor)))
    calls = [(engine, "clear"), (engine, "set_hot_cache"), (engine, "freeze"), (storage, "recreate_backend")]
    for owner, name in calls:
        method = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, method=method, **o: (done.append("begun"), method(*a, **o))[1])
    method, _, route = asked.partition(" ")
    assert running.request(method, route).status == 200
    assert done[:2] == (["synced", "begun"] if asked in DESTRUCTIVE else ["begun"])


def test_file_that_cannot_be_used_stops_the_start(serve, tmp_path):
    with pytest.raises(AssertionError, match="internal_api_server_audit_file"):
        audited(serve, tmp_path / "no" / "such" / "folder" / "audit.log")
