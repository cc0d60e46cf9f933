"""Redaction: what is planted never leaves, what is harmless stays readable, and no text takes long (S21 to S24)."""

import logging
import threading
import time

import pytest

#: Requirement S21: variable -> value; `hunter2` stands in the part that nobody may see.
PLANTED = {
    "DB_PASSWORD": "hunter2",
    "PGPASSWORD": "hunter2",
    "STORE_SECRET": "hunter2",
    "API_KEY": "hunter2",
    "AccessToken": "hunter2",
    "aws_secret_access_key": "hunter2/abc+def",
    "REMOTE_URL": "redis://user:hunter2@cache:6379/0",
    "OTHER_URL": "valkey://:hunter2@cache:6379/0",
    "CALLBACK": "https://host/x?expires=1&X-Amz-Signature=hunter2&y=2",
    "BLOB": "https://account.blob.example/c?sv=2024&sig=hunter2%3D",
    "HEADER": "Authorization: Bearer hunter2-hunter2",
    "BASIC": "Basic hunter2hunter2==",
    "JSON_INSIDE": '{"user": "bob", "nested": {"password": "hunter2"}}',
    "YAML_INSIDE": "user: bob\nstore:\n  password: hunter2\n",
    "REPR_INSIDE": "Config(user='bob', secrets=['hunter2', 'x'])",
    "COMMAND": "serve --port 1 --api-key hunter2 --verbose",
    "COMMAND_2": "curl -u user:hunter2 http://host/",
    "GIT": "cloned with ghp_hunter2hunter2hunter2",
    "JWT": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.hunter2hunter2",
    "PEM": "-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----",
    "CONNECTION": "AccountName=x;AccountKey=hunter2==;EndpointSuffix=core",
}
#: Requirement S22: what an engine's host really has in its environment.
HARMLESS = """
PATH=/usr/local/bin:/usr/bin:/bin|HOME=/root|LANG=C.UTF-8|LC_ALL=en_US.UTF-8|TERM=xterm-256color|SHELL=/bin/bash
USER=root|LOGNAME=root|PWD=/workspace|OLDPWD=/|HOSTNAME=worker-0|SHLVL=1|EDITOR=vim|PAGER=less|TZ=UTC|TMPDIR=/tmp
PYTHONPATH=/opt/app|PYTHONHASHSEED=0|PYTHONUNBUFFERED=1|VIRTUAL_ENV=/opt/venv|PIP_NO_CACHE_DIR=1|CONDA_PREFIX=/opt/c
CUDA_VISIBLE_DEVICES=0,1|CUDA_HOME=/usr/local/cuda|NCCL_DEBUG=INFO|NCCL_SOCKET_IFNAME=eth0|NVIDIA_VISIBLE_DEVICES=all
LD_LIBRARY_PATH=/usr/lib|OMP_NUM_THREADS=8|MKL_NUM_THREADS=8|TOKENIZERS_PARALLELISM=false|HF_HOME=/models|HF_HUB_OFFLINE=1
TRANSFORMERS_CACHE=/models|VLLM_WORKER_MULTIPROC_METHOD=spawn|VLLM_LOGGING_LEVEL=INFO|VLLM_USE_V1=1|MAX_NUM_TOKENS=8192
LMCACHE_CHUNK_SIZE=256|LMCACHE_LOCAL_CPU=True|LMCACHE_MAX_LOCAL_CPU_SIZE=5.0|LMCACHE_REMOTE_URL=redis://cache:6379/0
LMCACHE_CONFIG_FILE=/etc/lmcache.yaml|LMCACHE_USE_EXPERIMENTAL=True|LMCACHE_LOCAL_DISK=file:///data/kv|NUM_TOKENS=40
LMCACHE_INTERNAL_API_SERVER_ENABLED=true|LMCACHE_INTERNAL_API_SERVER_HOST=127.0.0.1|MIN_RETRIEVE_TOKENS=0|KEY_COUNT=3
KUBERNETES_SERVICE_HOST=10.0.0.1|KUBERNETES_SERVICE_PORT=443|KUBERNETES_PORT=tcp://10.0.0.1:443|POD_NAME=kv-0|POD_IP=10.1.2.3
NODE_NAME=node-7|NAMESPACE=default|PROMETHEUS_MULTIPROC_DIR=/tmp/prom|OTEL_SERVICE_NAME=engine|OTEL_TRACES_SAMPLER=always_on
MODEL_NAME=meta-llama/Llama-3-8B|SERVED_MODEL_NAME=llama|DTYPE=bfloat16|TENSOR_PARALLEL_SIZE=2|BLOCK_SIZE=16|SEED=42
LOG_LEVEL=info|LOG_FORMAT=json|DEBUG=0|PORT=8000|HOST=0.0.0.0|BASE_PATH=/admin|WORKERS=4|TIMEOUT=30|RETRIES=3|REGION=eu-west-1
AWS_REGION=eu-west-1|AWS_DEFAULT_OUTPUT=json|S3_BUCKET=kv-cache|GIT_COMMIT=3e11e108|BUILD_ID=2026-11-24|VERSION=1.2.3
DEBIAN_FRONTEND=noninteractive|SSL_CERT_FILE=/etc/ssl/certs/ca.pem|REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca.pem|NO_PROXY=localhost
HTTP_PROXY=http://proxy:3128|COLORTERM=truecolor|LS_COLORS=di=01;34:ln=01;36|LESSOPEN=/usr/bin/lesspipe %s|DISPLAY=:0
EOS_TOKEN_ID=2|PAD_TOKEN_ID=0|CHUNK_TOKENS=256|KEYBOARD_LAYOUT=de|MONKEY=yes|AUTHOR=bob|SESSION_NAME=blue|SIGNAL=TERM|PASSENGER=1
"""


def lines_of(text):
    """Name -> value of the table above."""
    items = [item for line in text.strip().splitlines() for item in line.split("|")]
    return dict(item.split("=", 1) for item in items)


def test_none_of_the_planted_shapes_leaves_the_environment(service, monkeypatch):
    for name, value in PLANTED.items():
        monkeypatch.setenv(f"PLANTED_{name}", value)
    answer = service.get("/env")
    assert "hunter2" not in answer.text
    assert {f"PLANTED_{name}" for name in PLANTED} <= set(answer.json())


def test_what_stands_beside_a_secret_stays_readable(service, monkeypatch):
    for name, value in PLANTED.items():
        monkeypatch.setenv(f"PLANTED_{name}", value)
    shown = service.get("/env").json()
    assert shown["PLANTED_REMOTE_URL"] == "redis://user:******@cache:6379/0"
    assert shown["PLANTED_CALLBACK"] == "https://host/x?expires=1&X-Amz-Signature=******&y=2"
    assert shown["PLANTED_YAML_INSIDE"] == "user: bob\nstore:\n  password: ******\n"
    assert shown["PLANTED_COMMAND"] == "serve --port 1 --api-key ****** --verbose"
    assert shown["PLANTED_JSON_INSIDE"] == '{"user": "bob", "nested": {"password": "******"}}'


def test_of_100_harmless_variables_at_most_2_are_masked(service, monkeypatch):
    ordinary = lines_of(HARMLESS)
    assert len(ordinary) >= 100
    for name, value in ordinary.items():
        monkeypatch.setenv(name, value)
    shown = service.get("/env").json()
    changed = [name for name, value in ordinary.items() if shown[name] != value]
    assert len(changed) <= 2, changed


@pytest.mark.parametrize("name", sorted(PLANTED))
def test_planted_shape_in_an_error_text_is_masked(serve, tmp_path, name):
    running = serve(worker_id=0)

    def clear(**_):
        raise RuntimeError(f"cannot reach: {name}={PLANTED[name]} (refused)")

    running.manager.lmcache_engine.clear = clear
    answer = running.delete("/cache/clear")
    assert answer.status == 500
    assert "hunter2" not in answer.text
    assert answer.json()["error"] == "Failed to clear cache"


def test_configuration_is_masked_inside_nested_values(serve):
    running = serve(
        remote_url="redis://user:hunter2@cache:6379",
        extra_config={"store": {"password": "hunter2", "region": "eu"}, "ports": [1, 2]},
    )
    shown = running.get("/conf?names=remote_url,extra_config").json()
    assert shown["remote_url"] == "redis://user:******@cache:6379"
    assert shown["extra_config"]["store"] == {"password": "******", "region": "eu"}
    assert shown["extra_config"]["ports"] == [1, 2]


def test_inference_info_is_masked_in_text_and_in_objects(service):
    class Settings:
        def __str__(self):
            return "Settings(model='m', hf_token='hunter2')"

    info = {"vllm_config": "model='m', api_key='hunter2'", "object": Settings(), "hf_token": "hunter2", "token": None}
    service.manager.get_inference_info = lambda: info
    shown = service.get("/inference_info").json()
    assert shown == {
        "vllm_config": "model='m', api_key='******'",
        "object": "Settings(model='m', hf_token='******')",
        "hf_token": "******",
        "token": None,
    }


def test_value_that_cannot_be_printed_is_masked_alone(service):
    class Broken:
        def __str__(self):
            raise RuntimeError("hunter2")

    service.manager.get_inference_info = lambda: {"broken": Broken(), "model": "m"}
    answer = service.get("/inference_info")
    assert answer.json() == {"broken": "******", "model": "m"}


def test_audit_keeps_arguments_without_their_secrets(service):
    service.request("POST", "/conf?token=hunter2", '{"password": "hunter2"}', {"Content-Type": "application/json"})
    answer = service.get("/audit")
    assert "hunter2" not in answer.text
    assert answer.json()["entries"][0]["arguments"] == {"token": "******", "body": {"password": "******"}}


def test_audit_and_errors_mask_what_a_path_or_query_says(service):
    service.put("/freeze/enable?note=password%3Dhunter2")
    assert "hunter2" not in service.get("/audit").text
    assert "hunter2" not in service.get("/periodic-threads/password=hunter2").text
    assert "hunter2" not in service.get("/threads?thread_id=password%3Dhunter2").text


def test_failure_is_logged_for_us_with_its_route(service, caplog):
    def is_frozen():
        raise RuntimeError("broken")

    service.manager.lmcache_engine.is_frozen = is_frozen
    with caplog.at_level(logging.ERROR, "lmcache_admin"):
        service.get("/freeze/status")
    assert any("/freeze/status" in record.getMessage() and record.exc_info for record in caplog.records)


@pytest.mark.parametrize(
    "unit",
    ["a", "a ", "a=", "a.-", "-eyJ", "a://", "a://b:", 'password="', "password=[,", "token_", "-u a:", " ", "x:\n "],
)
def test_long_text_of_one_kind_holds_nobody_up(service, monkeypatch, unit):
    monkeypatch.setenv("LONG", unit * (60_000 // len(unit)))
    done = threading.Event()
    thread = threading.Thread(target=lambda: service.get("/env") and done.set(), daemon=True)
    thread.start()
    began = time.monotonic()
    assert done.wait(20), f"still at it after {time.monotonic() - began:.0f} s"
    thread.join()
