"""The audit: written before the change, bounded, and every refusal in it."""

import http.client
import threading

import pytest


def newest(running):
    return running.get("/audit?limit=1").json()["entries"][0]


def test_s29_intent_is_there_before_the_change_has_ended(service, eventually):
    entered, release = threading.Event(), threading.Event()

    def freeze(enabled):
        entered.set()
        release.wait()

    service.manager.lmcache_engine.freeze = freeze
    thread = threading.Thread(target=service.put, args=("/freeze/enable",))
    thread.start()
    assert entered.wait(30)
    during = newest(service)
    release.set()
    thread.join()
    assert (during["outcome"], during["status"], during["duration_ms"]) == ("intended", None, None)
    assert eventually(lambda: newest(service)["outcome"] == "done")


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("PUT", "/freeze/enable", {"Origin": "http://evil.example"}),
        ("GET", "/conf", {"Sec-Fetch-Site": "cross-site"}),
        ("GET", "/version", {"Via": "1.1 proxy"}),
        ("POST", "/nowhere", {"Origin": "null"}),
    ],
)
def test_s27_refusal_is_recorded_whatever_was_refused(service, method, path, headers):
    assert service.request(method, path, headers=headers).status == 403
    entry = newest(service)
    assert (entry["method"], entry["route"], entry["outcome"], entry["status"]) == (method, path, "refused", 403)


def test_s27_denied_read_of_an_admin_route_is_recorded(serve, tmp_path):
    running = serve(tcp=True, extra={"auth": "local"})
    running.get("/audit")
    (entry,) = running.server.service.audit.newest(10)  # nobody may read it over TCP
    assert (entry["route"], entry["role"], entry["address"], entry["outcome"]) == (
        "/audit",
        "operator",
        "127.0.0.1",
        "refused",
    )


def test_s33_last_1000_entries_are_kept(service):
    connection = service.connection()
    for number in range(1003):
        connection.request("PUT", f"/freeze/enable?n={number}")
        connection.getresponse().read()
    connection.close()
    entries = service.get("/audit?limit=1000").json()["entries"]
    assert len(entries) == 1000
    assert (entries[0]["arguments"], entries[-1]["arguments"]) == ({"n": "1002"}, {"n": "3"})


def test_view_that_fails_is_recorded_as_failed(service):
    def freeze(enabled):
        raise RuntimeError("no")

    service.manager.lmcache_engine.freeze = freeze
    service.put("/freeze/enable")
    assert (newest(service)["outcome"], newest(service)["status"]) == ("failed", 500)


def test_repeated_arguments_and_a_json_body_are_recorded(service):
    body = '{"min_retrieve_tokens": 3}'
    service.request("POST", "/conf?a=1&a=2", body, {"Content-Type": "application/json"})
    assert newest(service)["arguments"] == {"a": ["1", "2"], "body": {"min_retrieve_tokens": 3}}


@pytest.mark.parametrize("body", ["{broken", "[" * 50_000, b"\xff\xfe"])
def test_body_that_is_no_json_is_left_out(service, body):
    service.request("POST", "/conf", body, {"Content-Type": "application/json"})
    entry = newest(service)
    assert (entry["route"], entry["status"], entry["arguments"]) == ("/conf", 400, {})


def test_entries_of_many_clients_at_once_have_their_own_numbers(service):
    def change():
        connection: http.client.HTTPConnection = service.connection()
        for _ in range(20):
            connection.request("PUT", "/freeze/disable")
            connection.getresponse().read()
        connection.close()

    threads = [threading.Thread(target=change) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = [entry["id"] for entry in service.get("/audit?limit=1000").json()["entries"]]
    assert len(ids) == len(set(ids)) == 80
