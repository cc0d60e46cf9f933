"""GET /metrics and POST /metrics/reset."""

import os
import subprocess
import sys

import pytest
from prometheus_client import REGISTRY, Counter, Gauge
from prometheus_client.parser import text_string_to_metric_families

WRITER = """
from prometheus_client import Counter
Counter("tests_shared", "Counted in another process.").inc(7)
"""


@pytest.fixture
def register():
    """Make a metric and take it out of the process's registry at the end."""
    made = []

    def make(kind, *args, **options):
        made.append(kind(*args, **options))
        return made[-1]

    yield make
    for metric in made:
        REGISTRY.unregister(metric)


def samples(answer):
    """Every sample of an exposition: (name, its labels) -> value."""
    families = text_string_to_metric_families(answer.text)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def test_metrics_of_the_host_are_shown_in_the_text_format(service, register):
    counter = register(Counter, "lmcache:tests_requests", "Requests.", ["worker_id"])
    counter.labels(worker_id="0").inc(3)
    answer = service.get("/metrics")
    assert (answer.status, answer.type) == (200, "text/plain; charset=utf-8")
    assert samples(answer)["lmcache:tests_requests_total", (("worker_id", "0"),)] == 3
    assert "# TYPE lmcache:tests_requests_created gauge\n" in answer.text


def test_scraper_that_names_the_text_format_gets_its_type(service):
    answer = service.get("/metrics", Accept="application/openmetrics-text;q=0.9, text/plain;version=0.0.4;q=0.5")
    assert answer.type == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.text.startswith("# HELP ")


def test_scrape_shows_what_was_set_just_before_it(service, register):
    gauge = register(Gauge, "tests_gauge", "Set again and again.")
    for value in (1, 2, 3):
        gauge.set(value)
        assert samples(service.get("/metrics"))["tests_gauge", ()] == value


def test_own_requests_are_counted_by_pattern_never_by_path(service):
    service.get("/periodic-threads/a-name-that-is-nowhere")
    service.get("/not/a/route")
    answer = service.get("/metrics")
    counted = {
        dict(labels)["route"]: (dict(labels)["status"], value)
        for (name, labels), value in samples(answer).items()
        if name == "lmcache_admin_request_seconds_count"
    }
    assert counted["/periodic-threads/<thread_name>"] == ("404", 1)
    assert counted["unmatched"] == ("404", 1)
    assert "a-name-that-is-nowhere" not in answer.text


def test_lanes_show_what_waits_and_what_runs(service):
    found = samples(service.get("/metrics"))
    lanes = {dict(labels)["lane"] for name, labels in found if name.startswith("lmcache_admin_lane_")}
    assert lanes == {"light", "read", "change", "job"}


def test_server_label_tells_two_servers_of_a_process_apart(serve, client):
    first, second = serve(), serve(worker_id=1)
    found = samples(first.get("/metrics"))
    servers = {dict(labels)["server"] for name, labels in found if name == "lmcache_admin_ready"}
    assert servers == {f"socket {first.target}", f"socket {second.target}"}


def test_stopped_server_leaves_no_series(serve, eventually):
    first, second = serve(), serve(worker_id=1)
    second.server.stop()
    found = samples(first.get("/metrics"))
    assert {dict(labels)["server"] for name, labels in found if name == "lmcache_admin_ready"} == {
        f"socket {first.target}"
    }


def test_multiprocess_mode_shows_what_other_processes_counted(service, tmp_path, monkeypatch):
    folder = tmp_path / "prometheus"
    folder.mkdir()
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    subprocess.run([sys.executable, "-c", WRITER], env=environment, check=True)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(folder))
    found = samples(service.get("/metrics"))
    assert found["tests_shared_total", ()] == 7
    assert ("lmcache_admin_ready", (("server", f"socket {service.target}"),)) in found


def test_multiprocess_folder_without_files_shows_this_process(service, register, tmp_path, monkeypatch):
    register(Gauge, "tests_here", "Of this process.").set(1)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "absent"))
    assert samples(service.get("/metrics"))["tests_here", ()] == 1


@pytest.mark.parametrize("body", [None, b"", b"{broken", b'{"a": 1}'])
def test_reset_answers_ok_whatever_the_body(service, body):
    answer = service.post("/metrics/reset?x=1", body)
    assert (answer.status, answer.type, answer.text) == (200, "text/plain; charset=utf-8", "ok")


def test_reset_leaves_the_metrics_of_others_alone(service, register):
    counter = register(Counter, "tests_kept", "Of another library.")
    counter.inc(5)
    service.post("/metrics/reset")
    assert samples(service.get("/metrics"))["tests_kept_total", ()] == 5
