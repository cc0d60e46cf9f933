"""Fifty secrets of different shapes, planted wherever a host keeps texts: no GET route shows any (S21, S24, S26)."""

import logging
import re
import threading
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from prometheus_client import REGISTRY, Gauge

#: What nobody may see; each planted shape has one of its own.
SECRET = "Zq7v{:02d}hunterXy9Kw3"
URLS = [
    "redis://user:{}@cache:6379/0",
    "valkey://:{}@cache:6379",
    "rediss://{}@cache:6379",
    "amqp://me@example.com:{}@host:5672/v",
    "https://host/x?X-Amz-Signature={}&y=2",
    "https://account.blob.example/c?sv=2024&sig={}%3D",
    "https://hooks.slack.com/services/T000/B000/{}",
    "git+https://{}@host/x@main",
]
TEXTS = [
    "Authorization: Bearer {}",
    "sent Authorization: Token {}",
    "Cookie: theme=dark; id={}",
    "Basic {}==",
    "cannot log in with password={}",
    "the password is {}",
    "not accepted, API key: {}",
    "Config(user='bob', api_key='{}')",
    "serve --port 1 --api-key {} --verbose",
    "curl -u user:{} http://host/",
    "redis-cli -h cache -a {} ping",
    "mysql -u root -p{} data",
    "CREATE USER bob IDENTIFIED BY '{}'",
    "machine host login bob password {}",
    "AccountName=x;AccountKey={}==;EndpointSuffix=core",
    "Server=x;Uid=bob;Pwd={};",
    '{{"user": "bob", "nested": {{"password": "{}"}}}}',
    "user: bob\nstore:\n  password: {}\n",
    "env:\n- name: DB_PASS\n  value: {}\n",
    '<add key="ApiKey" value="{}"/>',
    "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----",
    "ghp_{}aaaaaaaa",
    "hf_{}aaaaaaaa",
    "sk-{}aaaaaaaa",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.{}",
    "acme-{}",  # of no known shape: a pattern of the setting's
]
NAMES = ["DB_PASSWORD", "STORE_SECRET", "API_KEY", "AccessToken", "aws_secret_access_key", "SSH_PASSPHRASE", "JWT"]
PATTERN = "acme-[A-Za-z0-9]+"


class Planter:
    """Hands out shapes with a secret of their own."""

    def __init__(self):
        self.planted = {}

    def __call__(self, shape="{}"):
        secret = SECRET.format(len(self.planted))
        self.planted[secret] = shape
        return shape.format(secret)


class Failing:
    """A part of a host all of whose methods fail with the next text."""

    def __init__(self, texts):
        self._texts = texts

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)

        def fail(*_, **__):
            raise RuntimeError(next(self._texts))

        return fail


@pytest.fixture
def plant(monkeypatch):
    """Plant secrets in this process: environment, threads, loggers, metrics; all gone at the end."""
    plant, end = Planter(), threading.Event()
    for number, text in enumerate(TEXTS):
        monkeypatch.setenv(f"PLANTED_{number}", plant(text))
    for name in NAMES:
        monkeypatch.setenv(f"PLANTED_{name}", plant())
    threads = [threading.Thread(target=end.wait, name=plant(url), daemon=True) for url in URLS[:3]]
    for thread in threads:
        thread.start()
    loggers = [logging.getLogger(f"client-{plant(shape)}") for shape in (URLS[3], TEXTS[4], TEXTS[21])]
    gauge = Gauge("tests_planted", "With secrets in its labels.", ["url", "password", "note"])
    gauge.labels(plant(URLS[4]), plant(), plant(TEXTS[12])).set(1)
    yield plant
    REGISTRY.unregister(gauge)
    for logger in loggers:
        del logging.root.manager.loggerDict[logger.name]
    end.set()
    for thread in threads:
        thread.join()


def plant_in_host(manager, plant):
    """Plant secrets in a host's configuration, metadata, what it tells and what it raises."""
    config = manager.config
    config.remote_url = plant(URLS[0])
    config.external_lookup_client = plant(URLS[5])
    config.extra_config = {
        **config.extra_config,
        "store": {"password": plant(), "urls": [plant(URLS[6]), plant(URLS[7])]},
        "credentials": [{"name": "a", "value": plant()}],
        "command": ["serve", "--api-key", plant()],
        "json": plant(TEXTS[16]),
    }
    manager.lmcache_engine_metadata.model_name = plant(URLS[7])
    info = {"vllm_config": plant(TEXTS[7]), "hf_token": plant(), "object": SimpleNamespace(api_key=plant())}
    manager.get_inference_info = lambda: info
    manager.get_lookup_info = Failing(iter(lambda: plant(TEXTS[5]), None)).get_lookup_info


def routes(running):
    return [served for served in running.server.service.routes.served if served.method == "GET"]


def crawl(running, fill):
    """Every GET route with its parameters filled in, as it is and with a query that holds a secret."""
    pages = {}
    for served in routes(running):
        path = re.sub(r"<(?:\w+:)?(\w+)>", lambda match: quote(fill.get(match[1], "x"), safe=""), served.rule)
        for address in (path, f"{path}?{fill['query']}", f"{path}/?{fill['query']}"):
            answer = running.get(address)
            pages[address] = f"{answer.headers}\n{answer.body.decode('utf-8', 'replace')}"
    return pages


def found(pages, planted):
    return {
        (address, planted[secret]) for address, page in pages.items() for secret in planted if secret in page
    }


def check(running, plant, **fill):
    fill = {"query": f"password={plant()}&names=&limit=100", **fill}
    pages = crawl(running, fill)
    assert len(pages) == 3 * len(routes(running)) > 60
    assert found(pages, plant.planted) == set()
    assert any("******" in page for page in pages.values())
    return pages


@pytest.mark.parametrize("role", ["worker", "scheduler"])
def test_s21_s26_no_get_route_shows_any_of_fifty_planted_secrets(serve, plant, role):
    running = serve(role=role, extra={"redact_patterns": [PATTERN]})
    plant_in_host(running.manager, plant)
    pages = check(running, plant, thread_name=plant(TEXTS[4]))
    assert len(plant.planted) >= 50
    assert '"PLANTED_DB_PASSWORD": "******"' in pages["/env"]
    assert "redis://user:******@cache:6379/0" in pages["/threads"]
    assert "redis://user:******@cache:6379/0" in pages["/conf"]
    assert 'password="******"' in pages["/metrics"]


def test_s21_s24_no_get_route_shows_a_secret_of_what_a_host_raises(serve, plant, eventually, caplog):
    running = serve(extra={"redact_patterns": [PATTERN]})
    texts = iter(lambda: plant(TEXTS[len(plant.planted) % len(TEXTS)]), None)
    engine = running.manager.lmcache_engine
    failing = Failing(texts)
    for name in ("is_frozen", "is_hot_cache_enabled", "lookup", "clear"):
        setattr(engine, name, getattr(failing, name))
    engine.storage_manager.probe_backend = failing.probe_backend
    engine.storage_manager.list_backends = failing.list_backends
    running.manager.get_inference_info = failing.get_inference_info
    running.server.service.health.probe()
    job = running.request("DELETE", "/cache/clear", headers={"Prefer": "respond-async"}).headers["Location"]
    eventually(lambda: running.get(job).json()["ended"], "the job")
    with caplog.at_level(logging.DEBUG):
        check(running, plant, job_id=job.rpartition("/")[2])
    assert len(plant.planted) >= 50
    lines = "\n".join(map(caplog.handler.format, caplog.records))
    assert "Traceback" in lines
    assert [secret for secret in plant.planted if secret in lines] == []


def test_s26_a_route_that_is_not_masked_as_a_whole_is_known(service):
    """Those that hold no secret, or mask what they show by themselves; the crawl above looks at them too."""
    kept = {f"{s.method} {s.rule}" for s in service.server.service.routes.served if not s.declaration.redacted}
    assert kept == {
        "GET /healthz",
        "GET /threads",
        "GET /loglevel",
        "POST /loglevel",
        "GET /openapi.json",
        "GET /session",
        "POST /session",
        "DELETE /session",
        "GET /cache/kvcache/check",
    }


def test_s26_no_role_and_no_parameter_gets_a_raw_value(service, monkeypatch):
    monkeypatch.setenv("PLANTED_PASSWORD", "hunter2")
    assert service.get("/audit").status == 200  # the engine's own user on the socket is admin
    for query in ("", "?raw=1", "?redact=false", "?unmask=true", "?format=raw"):
        assert service.get(f"/env{query}").json()["PLANTED_PASSWORD"] == "******"
