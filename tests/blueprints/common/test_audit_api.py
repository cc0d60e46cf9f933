"""GET /audit: who changed what, and who was refused."""

from datetime import datetime, timezone

import pytest


def entries(running, query=""):
    answer = running.get(f"/audit{query}")
    assert answer.status == 200
    return answer.json()["entries"]


def test_s33_nothing_has_been_changed_at_first_and_it_says_where_entries_are_kept(service):
    answer = service.get("/audit")
    assert (answer.status, answer.type) == (200, "application/json")
    assert answer.json() == {"entries": [], "kept": "in memory"}


def test_change_is_recorded_with_who_what_and_how_it_ended(service):
    before = datetime.now(timezone.utc)
    service.put("/freeze/enable?note=maintenance")
    (entry,) = entries(service)
    assert {key: entry[key] for key in ("method", "route", "operation", "outcome", "status", "role", "address")} == {
        "method": "PUT",
        "route": "/freeze/enable",
        "operation": "enable freeze mode",
        "outcome": "done",
        "status": 200,
        "role": "admin",
        "address": "unix",
    }
    assert entry["arguments"] == {"note": "maintenance"}
    assert entry["duration_ms"] >= 0
    assert abs((datetime.fromisoformat(entry["time"]) - before).total_seconds()) < 60


def test_reads_are_not_recorded(service):
    for path in ("/version", "/conf", "/metrics", "/freeze/status", "/audit", "/nowhere", "/loglevel?logger_name=a"):
        service.get(path)
    assert entries(service) == []


def test_level_that_is_set_by_get_is_a_change(service):
    service.get("/loglevel?logger_name=tests.audit&level=INFO")
    (entry,) = entries(service)
    assert (entry["method"], entry["route"], entry["outcome"]) == ("GET", "/loglevel", "done")
    assert entry["arguments"] == {"logger_name": "tests.audit", "level": "INFO"}


def test_change_that_failed_is_recorded_as_failed(service):
    service.post("/cache/store?tokens_mock=a,b")
    (entry,) = entries(service)
    assert (entry["outcome"], entry["status"]) == ("failed", 400)


def test_refused_change_is_recorded_as_refused(serve):
    running = serve(extra={"read_only": True})
    running.put("/freeze/enable")
    (entry,) = entries(running)
    assert (entry["route"], entry["outcome"], entry["status"]) == ("/freeze/enable", "refused", 403)


def test_newest_come_first_and_limit_cuts(service):
    for path in ("/freeze/enable", "/freeze/disable", "/hot_cache/enable"):
        service.put(path)
    assert [e["route"] for e in entries(service)] == ["/hot_cache/enable", "/freeze/disable", "/freeze/enable"]
    assert [e["route"] for e in entries(service, "?limit=1")] == ["/hot_cache/enable"]


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "", "1.5"])
def test_limit_outside_1_to_1000_is_422(service, limit):
    answer = service.get(f"/audit?limit={limit}")
    assert (answer.status, list(answer.json()["errors"]["query"])) == (422, ["limit"])


def test_two_servers_keep_their_own(serve):
    first, second = serve(), serve(worker_id=1)
    first.put("/freeze/enable")
    assert (len(entries(first)), len(entries(second))) == (1, 0)


def test_caller_over_tcp_has_not_the_role_for_it(serve):
    running = serve(tcp=True)
    answer = running.get("/audit")
    assert answer.status == 403
    assert answer.json()["error"] == "Forbidden"
    assert "role admin" in answer.json()["message"]
