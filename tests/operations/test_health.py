"""What the probes of the data path find, and what /readyz makes of it."""

from __future__ import annotations

import shutil
import threading

from lmcache_admin.operations.health import Health


def disk(folder) -> dict:
    return {"local_disk": str(folder), "max_local_disk_size": 0.1}


def checks(answer) -> dict:
    return {check["name"]: check for check in answer.json()["checks"]}


def test_every_backend_is_probed_and_nothing_stays(serve, tmp_path, eventually) -> None:
    worker = serve(**disk(tmp_path / "chunks"))
    eventually(lambda: worker.get("/readyz").status == 200)
    assert {name: check["status"] for name, check in checks(worker.get("/readyz")).items()} == {
        "LocalCPUBackend": "ok",
        "LocalDiskBackend": "ok",
    }
    assert not [path for path in (tmp_path / "chunks").rglob("*") if path.is_file()]


def test_a_disk_that_fails_degrades_and_then_fails(serve, tmp_path, eventually) -> None:
    worker = serve(**disk(tmp_path / "chunks"))
    eventually(lambda: worker.get("/readyz").status == 200)
    shutil.rmtree(tmp_path / "chunks")
    (tmp_path / "chunks").write_text("not a folder any more")
    worker.server.service.health.probe()
    answer = worker.get("/readyz")
    assert (answer.status, answer.json()["status"]) == (200, "degraded")
    assert checks(answer)["LocalDiskBackend"]["status"] == "failed"
    assert checks(answer)["LocalCPUBackend"]["status"] == "ok"
    worker.server.service.health.probe()
    answer = worker.get("/readyz")
    assert (answer.status, answer.json()["status"]) == (503, "failed")


def test_a_shared_store_that_is_gone_degrades_and_does_not_fail(serve, redis_server, eventually) -> None:
    worker = serve(remote_url=redis_server.url)
    eventually(lambda: worker.get("/readyz").json()["status"] == "ok")
    redis_server.stop()
    for _ in range(3):
        worker.server.service.health.probe()
    answer = worker.get("/readyz")
    assert (answer.status, answer.json()["status"]) == (200, "degraded")
    assert checks(answer)["RemoteBackend"]["status"] == "failed"
    assert worker.post("/cache/store?tokens_mock=0,16").status == 200
    redis_server.start()

    def recovered() -> bool:
        worker.server.service.health.probe()
        return worker.get("/readyz").json()["status"] == "ok"

    eventually(recovered)


def test_a_frozen_engine_is_not_probed_and_is_ready(serve, eventually) -> None:
    worker = serve()
    eventually(lambda: worker.get("/readyz").status == 200)
    worker.put("/freeze/enable")
    worker.server.service.health.probe()
    assert checks(worker.get("/readyz"))["LocalCPUBackend"]["status"] == "skipped"
    assert worker.get("/readyz").status == 200


def test_a_bypassed_backend_is_not_probed(serve, tmp_path) -> None:
    worker = serve(**disk(tmp_path / "chunks"))
    worker.manager.lmcache_engine.storage_manager.set_backend_bypass("LocalDiskBackend", True)
    worker.server.service.health.probe()
    assert checks(worker.get("/readyz"))["LocalDiskBackend"]["message"] == "bypassed"
    assert worker.get("/readyz").json()["status"] == "ok"


def test_a_scheduler_is_ready_without_an_engine(serve) -> None:
    answer = serve(role="scheduler").get("/readyz")
    assert (answer.status, answer.json()) == (200, {"status": "ok", "checks": []})


def test_a_probe_that_hangs_is_reported_while_it_hangs() -> None:
    released, began = threading.Event(), threading.Event()

    def hang() -> tuple[str, str]:
        began.set()
        released.wait()
        return "ok", ""

    health = Health(lambda: "ready", True, lambda: {"LocalDiskBackend": hang}, deadline=0.0)
    thread = threading.Thread(target=health.probe)
    thread.start()
    began.wait()
    report = health.report()
    released.set()
    thread.join()
    assert report["status"] == "degraded"
    assert report["checks"][0]["name"] == "LocalDiskBackend"
    assert report["checks"][0]["message"].startswith("no answer for")
    assert health.report()["status"] == "ok"


def test_a_probe_that_raises_is_a_finding_with_its_words() -> None:
    def refuse() -> tuple[str, str]:
        raise OSError("No space left on device")

    health = Health(lambda: "ready", True, lambda: {"LocalDiskBackend": refuse})
    health.probe()
    assert health.report()["checks"][0]["message"] == "OSError: No space left on device"
    assert health.report()["status"] == "degraded"


def test_a_worker_without_its_engine_has_failed() -> None:
    health = Health(lambda: "absent", True, dict)
    health.probe()
    assert health.report() == {"status": "failed", "checks": []}


def test_an_engine_before_its_post_init_is_starting() -> None:
    health = Health(lambda: "starting", True, dict)
    health.probe()
    assert health.report() == {"status": "starting", "checks": []}


def test_a_probe_that_asks_the_process_to_end_is_a_finding() -> None:
    def end() -> tuple[str, str]:
        raise SystemExit(3)

    health = Health(lambda: "ready", True, lambda: {"engine": end})
    health.probe()
    assert health.report()["checks"][0]["message"] == "SystemExit: 3"
    assert health.report()["status"] == "degraded"
