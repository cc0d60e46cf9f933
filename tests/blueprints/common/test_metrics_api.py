"""GET /metrics and POST /metrics/reset."""

import os
import struct
import subprocess
import sys

import pytest
from prometheus_client import REGISTRY, Counter, Gauge
from prometheus_client.parser import text_string_to_metric_families

from lmcache_admin.engine.backends.protocol import COUNTERS
from lmcache_admin.metrics import BACKEND_COUNTERS

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


SCRAPED = """
import sys
from lmcache_admin import create_app
client = create_app(None).test_client()
answer = client.get("/metrics")
sys.stdout.write(answer.get_data(as_text=True))
sys.exit(answer.status_code != 200)
"""


@pytest.fixture
def shared_folder(tmp_path):
    folder = tmp_path / "prometheus"
    folder.mkdir()
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    subprocess.run([sys.executable, "-c", WRITER], env=environment, check=True)
    return folder


def scrape_of_a_process(folder):
    """What a process that was started with the variable shows."""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    done = subprocess.run([sys.executable, "-c", SCRAPED], env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def test_multiprocess_mode_shows_what_other_processes_counted(shared_folder):
    assert "tests_shared_total 7.0" in scrape_of_a_process(shared_folder)


def test_a_broken_file_of_another_process_does_not_end_the_scrape(shared_folder):
    (shared_folder / "counter_9.db").write_bytes(struct.pack("i", 1_000_000) + bytes(3000))  # says it is longer
    assert "python_info" in scrape_of_a_process(shared_folder)


def test_a_process_that_counts_in_memory_shows_its_own_whatever_the_variable_says(
    service, register, shared_folder, monkeypatch
):
    register(Gauge, "tests_here", "Of this process.").set(1)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(shared_folder))  # as LMCache does, after the import
    found = samples(service.get("/metrics"))
    assert found["tests_here", ()] == 1
    assert ("tests_shared_total", ()) not in found


class OddStorage:
    """A storage manager of somebody else, whose `stats` is not ours."""

    def stats(self):
        raise RuntimeError("no figures for you")

    def get_all_backend_names(self):
        return []


def test_a_foreign_engines_figures_are_not_asked_for(service, monkeypatch):
    monkeypatch.setattr(service.manager.lmcache_engine, "storage_manager", OddStorage())  # a part of a real host
    assert service.get("/metrics").status == 200


@pytest.mark.parametrize("body", [None, b"", b"{broken", b'{"a": 1}'])
def test_reset_answers_ok_whatever_the_body(service, body):
    answer = service.post("/metrics/reset?x=1", body)
    assert (answer.status, answer.type, answer.text) == (200, "text/plain; charset=utf-8", "ok")


def test_reset_leaves_the_metrics_of_others_alone(service, register):
    counter = register(Counter, "tests_kept", "Of another library.")
    counter.inc(5)
    service.post("/metrics/reset")
    assert samples(service.get("/metrics"))["tests_kept_total", ()] == 5


def test_figures_of_backends_that_only_rise_are_counters(service):
    assert set(BACKEND_COUNTERS) == set(COUNTERS)
    kinds = {family.name: family.type for family in text_string_to_metric_families(service.get("/metrics").text)}
    assert {kinds[f"lmcache_admin_backend_{figure}"] for figure in COUNTERS} == {"counter"}
    assert kinds["lmcache_admin_backend_bytes"] == "gauge"


def test_a_backend_that_others_share_tells_its_counters_alone(serve, tmp_path):
    service = serve(remote_url=f"fs://localhost:0{tmp_path}/shared", remote_serde="naive")

    def backends(figure):
        found = samples(service.get("/metrics"))
        return {dict(labels)["backend"] for name, labels in found if name == f"lmcache_admin_backend_{figure}"}

    assert backends("bytes") == {"LocalCPUBackend"}
    assert backends(f"{COUNTERS[0]}_total") == {"LocalCPUBackend", "RemoteBackend"}
