"""The second listener: three paths for anybody, nothing else."""

from __future__ import annotations

import pytest

from lmcache_admin import InternalAPIServer
from lmcache_admin.engine import Configuration, Manager


@pytest.fixture
def listener(serve, free_port, client):
    start = free_port(3)
    serve(extra={"metrics_host": "127.0.0.1", "metrics_port_start": start})
    return client(start + 1)


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz"])
def test_serves_what_scrapers_and_probes_need(listener, eventually, path) -> None:
    eventually(lambda: listener.get(path).status == 200, f"200 for {path}")


def test_is_read_by_whatever_name_it_is_called(listener) -> None:
    assert listener.get("/metrics", Host="engine-0.prod.svc:6900").status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/env"),
        ("PUT", "/freeze/enable"),
        ("POST", "/metrics/reset"),
        ("GET", "/metrics/"),
        ("HEAD", "/metrics"),
    ],
)
def test_serves_nothing_else(listener, method, path) -> None:
    assert listener.request(method, path).status == 404


def test_a_port_above_65535_is_one_line_with_key_value_and_limit(caplog) -> None:
    extra = {"internal_api_server_metrics_host": "127.0.0.1", "internal_api_server_metrics_port_start": 65535}
    values = {"internal_api_server_enabled": True, "max_local_cpu_size": 0.01, "extra_config": extra}
    manager = Manager(Configuration.from_mapping(values, {}), role="worker", worker_id=0)
    manager.start()
    try:
        server = InternalAPIServer(manager)
    finally:
        manager.stop()
    assert server.enable is False
    assert server.error == (
        "internal_api_server_metrics_port_start: 65535 is not allowed; "
        "allowed: an integer from 1 to 65534 (this process listens on it plus 1)"
    )
    assert [record.getMessage() for record in caplog.records] == [f"No internal API server: {server.error}"]


def test_a_taken_port_leaves_the_engine_manageable(serve, free_port, client) -> None:
    start = free_port(3)
    first = serve(extra={"metrics_host": "127.0.0.1", "metrics_port_start": start})
    assert first.server.error is None
    values = {
        "internal_api_server_enabled": True,
        "internal_api_server_port_start": free_port(2),
        "extra_config": {
            "internal_api_server_metrics_host": "127.0.0.1",
            "internal_api_server_metrics_port_start": start,
        },
    }
    manager = Manager(Configuration.from_mapping(values, {}), role="worker", worker_id=0)
    manager.start()
    second = InternalAPIServer(manager)
    second.start()
    try:
        assert "metrics listener" in second.error
        assert str(start + 1) in second.error
        assert client(second.port).get("/healthz").status == 200
    finally:
        second.stop()
        manager.stop()


@pytest.mark.parametrize("mode", ["local", "off"])
def test_s14_readiness_there_is_the_status_alone(serve, free_port, client, mode):
    port = free_port(2)
    serve(extra={"auth": mode, "metrics_host": "127.0.0.1", "metrics_port_start": port})
    assert set(client(port + 1).get("/readyz").json()) == {"status"}
