"""GET /healthz and /readyz."""

import threading

import pytest

from lmcache_admin.engine import Configuration, Manager


@pytest.fixture(autouse=True)
def _quick_probes(monkeypatch):
    # ten seconds from one probe to the next are right for a service and too long for a test
    monkeypatch.setattr("lmcache_admin.app.INTERVAL", 0.02)


@pytest.fixture
def ready(eventually):
    """Wait for a state, and return the report that has it."""

    def wait(running, status):
        def reached():
            answer = running.get("/readyz")
            return answer if answer.json()["status"] == status else None

        return eventually(reached, f"status {status}")

    return wait


def test_healthz_answers_ok(service):
    answer = service.get("/healthz")
    assert (answer.status, answer.type, answer.json()) == (200, "application/json", {"status": "ok"})


def test_there_is_no_health_route(service):
    assert service.get("/health").status == 404


def test_worker_becomes_ready_with_a_check_for_each_backend(serve, ready, tmp_path):
    running = serve(local_disk=f"file://{tmp_path / 'disk'}", max_local_disk_size=0.1)
    answer = ready(running, "ok")
    assert answer.status == 200
    checks = answer.json()["checks"]
    assert [(check["name"], check["status"], check["message"]) for check in checks] == [
        ("LocalCPUBackend", "ok", ""),
        ("LocalDiskBackend", "ok", ""),
    ]
    assert all(set(c) == {"name", "status", "age_seconds", "duration_ms", "message"} for c in checks)
    assert all(check["age_seconds"] >= 0 and check["duration_ms"] >= 0 for check in checks)


def test_probe_leaves_nothing_in_the_cache(service, ready):
    ready(service, "ok")
    assert service.delete("/cache/clear").json()["num_removed"] == 0


def test_frozen_engine_is_skipped_and_not_failed(service, ready, eventually):
    ready(service, "ok")
    service.put("/freeze/enable")
    check = eventually(
        lambda: next((c for c in service.get("/readyz").json()["checks"] if c["status"] == "skipped"), None)
    )
    assert check["message"] == "frozen"
    assert service.get("/readyz").status == 200


def test_scheduler_is_ready_without_an_engine(serve, ready):
    answer = ready(serve(role="scheduler"), "ok")
    assert (answer.status, answer.json()["checks"]) == (200, [])


@pytest.fixture
def stopped_worker(serve, tmp_path):
    """A worker whose engine was never made."""
    values = {"internal_api_server_enabled": True, "internal_api_server_socket_path_prefix": str(tmp_path / "api")}
    return serve(Manager(Configuration.from_mapping(values, {}), role="worker"))


def test_worker_without_its_engine_is_failed(stopped_worker, ready):
    assert ready(stopped_worker, "failed").status == 503
    assert stopped_worker.get("/healthz").status == 200


def test_engine_without_storage_manager_is_starting_and_then_ready(service, ready):
    engine = service.manager.lmcache_engine
    storage, engine.storage_manager = engine.storage_manager, None
    assert ready(service, "starting").status == 503
    engine.storage_manager = storage
    assert ready(service, "ok").status == 200


def test_backend_that_fails_again_and_again_is_failed_until_it_recovers(service, ready):
    storage = service.manager.lmcache_engine.storage_manager
    probe = storage.probe_backend

    def broken(name):
        raise OSError("the disk is gone, password=hunter2")

    storage.probe_backend = broken
    answer = ready(service, "failed")
    assert answer.status == 503
    assert answer.json()["checks"][0]["message"] == "OSError: the disk is gone, password=******"
    storage.probe_backend = probe
    assert ready(service, "ok").status == 200


def test_probe_that_hangs_delays_no_answer(service, ready, eventually):
    ready(service, "ok")
    storage, hanging, release = service.manager.lmcache_engine.storage_manager, threading.Event(), threading.Event()
    probe = storage.probe_backend

    def hang(name):
        hanging.set()
        release.wait()
        return probe(name)

    storage.probe_backend = hang
    assert hanging.wait(30)
    assert service.get("/readyz").status == 200
    assert service.get("/healthz").status == 200
    storage.probe_backend = probe
    release.set()


def test_readiness_is_a_metric(service, ready):
    ready(service, "ok")
    assert f'lmcache_admin_ready{{server="socket {service.target}"}} 1.0\n' in service.get("/metrics").text


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_are_answered_whatever_name_they_call_us_by(serve, ready, path):
    running = serve(tcp=True)
    ready(running, "ok")
    assert running.get(path, Host="kv-0.cluster.example").status == 200
