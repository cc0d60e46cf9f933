"""Redaction: what is planted never leaves, what is harmless stays readable, and no text takes long (S21 to S24)."""

import logging
import threading
import time

import pytest

from lmcache_admin.security.redaction import Redactor
from lmcache_admin.settings import Settings

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
    "SLASH_URL": "amqp://user:hunter2/hunter2@host:5672/v",
    "AT_URL": "amqp://user@example.com:p@hunter2@host",
    "USER_URL": "redis://HUNTERhunter2hunter2@cache:6379",
    "PIP": "git+https://T0Khunter2@host/x@main",
    "LIST_OF_URLS": "redis://a:hunter2@one:1,redis://b:hunter2@two:1",
    "REDIS_CLI": "redis-cli -h cache -a hunter2 ping",
    "MYSQL": "mysql -u root -phunter2 data",
    "SSH": "sshpass -p hunter2 ssh host",
    "NETRC": "machine host login bob password hunter2",
    "SQL": "CREATE USER bob IDENTIFIED BY 'hunter2'",
    "REDIS_CONF": "port 6379\nrequirepass hunter2\n",
    "SLACK": "https://hooks.slack.com/services/T000/B000/hunter2",
    "SCHEME": "sent Authorization: Token hunter2",
    "COOKIES": "Cookie: theme=dark; id=hunter2",
    "SENTENCE": "the password is hunter2",
    "API_SENTENCE": "not accepted, API key: hunter2",
    "KUBERNETES": "env:\n- name: DB_PASS\n  value: hunter2\n",
    "XML": '<add key="ApiKey" value="hunter2"/><password>hunter2</password>',
    "TWICE_IN_JSON": '{"password": "hunter2", "password": ""}',
    "ODBC": "Server=x;Uid=bob;Pwd=hunter2;",
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
SORT_KEY=name|CACHE_KEY_PREFIX=kv|PRIMARY_KEY_FIELD=id|MAX_TOKENS=512|NUM_PROMPT_TOKENS=7|HF_TOKENIZER=meta/llama
PASSENGER_APP_ENV=production|COMPASS_MODE=north|AUTHORITY_NAME=city|PATHS=/a:/b|SIGTERM_GRACE=30|BYPASS_BACKENDS=disk
AUTH_MODE=local|AUTH_ENABLED=true|GIT_AUTHOR_NAME=bob|XAUTHORITY=/home/bob/.Xauthority|SSH_AUTH_SOCK=/tmp/agent.1
XDG_SESSION_ID=2|XDG_SESSION_TYPE=tty|DBUS_SESSION_BUS_ADDRESS=unix:path=/run/bus|KEYTIMEOUT=1|GPG_TTY=/dev/pts/0
PASSWORD_FILE=/run/secrets/db|TOKEN_PATH=/var/run/token|TLS_KEY_FILE=/etc/tls/tls.key|COOKIE_DOMAIN=host|TOKEN_TTL=3600
CSRF_TRUSTED_ORIGINS=https://host|SECRET_NAME=db-login|JWT_ALGORITHM=RS256|PARTITION_KEY=tenant|ROUTING_KEY=kv.events
PUBLIC_KEY=ssh-ed25519|KMS_KEY_ID=alias/kv|DESIGN=blue|SPIN_LOCKS=1|PIN_MEMORY=true|USE_TOKEN=yes|CONNECTOR=LMCacheConnector
IMAGE=registry:5000/engine@sha256:12ab|TOKEN_SERVICE_PORT=tcp://10.0.0.9:80|TOKEN_SERVICE_SERVICE_HOST=10.0.0.9
DOCS_URL=https://host/@team/page|PIP_INDEX_URL=http://mirror:3141/simple|FORWARD_PASS=3|PASS_RATE=0.9|MONKEYPATCH=1
STOP_TOKEN_ID=2|BYTES_PER_TOKEN=131072|SALTED=no|BASIC=full|KEYS=a,b|NUM_KEYS=5|LICENSE_FILE=/LICENSE|PRIVATE_NETWORK=10.0.0.0
"""


def lines_of(text):
    """Name -> value of the table above."""
    items = [item for line in text.strip().splitlines() for item in line.split("|")]
    return dict(item.split("=", 1) for item in items)


def test_s21_none_of_the_planted_shapes_leaves_the_environment(service, monkeypatch):
    for name, value in PLANTED.items():
        monkeypatch.setenv(f"PLANTED_{name}", value)
    answer = service.get("/env")
    assert "hunter2" not in answer.text
    assert {f"PLANTED_{name}" for name in PLANTED} <= set(answer.json())


def test_s22_what_stands_beside_a_secret_stays_readable(service, monkeypatch):
    for name, value in PLANTED.items():
        monkeypatch.setenv(f"PLANTED_{name}", value)
    shown = service.get("/env").json()
    assert shown["PLANTED_REMOTE_URL"] == "redis://user:******@cache:6379/0"
    assert shown["PLANTED_CALLBACK"] == "https://host/x?expires=1&X-Amz-Signature=******&y=2"
    assert shown["PLANTED_YAML_INSIDE"] == "user: bob\nstore:\n  password: ******\n"
    assert shown["PLANTED_COMMAND"] == "serve --port 1 --api-key ****** --verbose"
    assert shown["PLANTED_JSON_INSIDE"] == '{"user": "bob", "nested": {"password": "******"}}'


def test_s22_of_100_harmless_variables_at_most_2_are_masked(service, monkeypatch):
    ordinary = lines_of(HARMLESS)
    assert len(ordinary) >= 100
    for name, value in ordinary.items():
        monkeypatch.setenv(name, value)
    shown = service.get("/env").json()
    changed = [name for name, value in ordinary.items() if shown[name] != value]
    assert len(changed) <= 2, changed


def test_s22_every_key_of_the_configuration_is_readable_by_its_name(serve, monkeypatch):
    running = serve()
    names = list(running.get("/conf").json())
    variables = {f"LMCACHE_{name.upper()}": "kept-1" for name in names}  # the engine that runs has read its own
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    shown = running.get("/env").json()
    assert len(variables) > 40
    assert {name: shown[name] for name in variables} == variables


def test_masking_twice_is_masking_once():
    redactor = Redactor()
    once = {name: redactor.mask(value) for name, value in PLANTED.items()}
    assert {name: redactor.mask(value) for name, value in once.items()} == once


@pytest.mark.parametrize("name", sorted(PLANTED))
def test_s24_planted_shape_in_an_error_text_is_masked(serve, tmp_path, name):
    running = serve(worker_id=0)

    def clear(**_):
        raise RuntimeError(f"cannot reach: {name}={PLANTED[name]} (refused)")

    running.manager.lmcache_engine.clear = clear
    answer = running.delete("/cache/clear")
    assert answer.status == 500
    assert "hunter2" not in answer.text
    assert answer.json()["error"] == "Failed to clear cache"


def test_s21_configuration_is_masked_inside_nested_values(serve):
    running = serve(
        remote_url="redis://user:hunter2@cache:6379",
        extra_config={"store": {"password": "hunter2", "region": "eu"}, "ports": [1, 2]},
    )
    shown = running.get("/conf?names=remote_url,extra_config").json()
    assert shown["remote_url"] == "redis://user:******@cache:6379"
    assert shown["extra_config"]["store"] == {"password": "******", "region": "eu"}
    assert shown["extra_config"]["ports"] == [1, 2]


def test_s21_inference_info_is_masked_in_text_and_in_objects(service):
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


def test_s23_value_that_cannot_be_printed_is_masked_alone(service):
    class Broken:
        def __str__(self):
            raise RuntimeError("hunter2")

    service.manager.get_inference_info = lambda: {"broken": Broken(), "model": "m"}
    answer = service.get("/inference_info")
    assert answer.json() == {"broken": "******", "model": "m"}


def test_s21_audit_keeps_arguments_without_their_secrets(service):
    service.request("POST", "/conf?token=hunter2", '{"password": "hunter2"}', {"Content-Type": "application/json"})
    answer = service.get("/audit")
    assert "hunter2" not in answer.text
    assert answer.json()["entries"][0]["arguments"] == {"token": "******", "body": {"password": "******"}}


def test_s21_s24_audit_and_errors_mask_what_a_path_or_query_says(service):
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
    [
        *(
            "a",
            "a ",
            "a=",
            "a.-",
            "-eyJ",
            "a://",
            "a://b:",
            "://@",
            "@",
            'password="',
            "password=[,",
            "token_",
            "-u a:",
        ),
        *(" ", "x:\n ", '"', "'", "[", "{", "(", "token,", "key: ", "password\\", "token:\n a\n", "<token>", "login "),
    ],
)
def test_long_text_of_one_kind_holds_nobody_up(service, monkeypatch, unit):
    monkeypatch.setenv("LONG", unit * (60_000 // len(unit)))
    done = threading.Event()
    thread = threading.Thread(target=lambda: service.get("/env") and done.set(), daemon=True)
    thread.start()
    began = time.monotonic()
    assert done.wait(20), f"still at it after {time.monotonic() - began:.0f} s"
    thread.join()


def test_the_shells_folder_is_shown_and_a_password_of_that_name_is_not():
    assert Redactor().mask({"PWD": "/workspace"}) == {"PWD": "/workspace"}
    assert Redactor().mask({"PWD": "hunter2"}) == {"PWD": "******"}


def test_s23_an_answer_that_cannot_be_masked_is_a_failure_that_shows_nothing_of_it(service):
    circle = {"model": "hunter2"}
    circle["again"] = circle
    service.manager.get_inference_info = lambda: circle
    answer = service.get("/inference_info")
    assert (answer.status, answer.json()["error"]) == (500, "Failed to get inference info")
    assert "hunter2" not in answer.text


def test_s23_a_text_on_which_the_redactor_fails_is_masked_whole(service, monkeypatch):
    def fails(text):
        raise RuntimeError("a fault of the redactor's")

    redactor = service.server.service.redactor
    monkeypatch.setattr(redactor, "_mask_text", fails)  # no input is known that makes it fail
    assert redactor.mask_text("hunter2") == redactor.mask({"a": "hunter2"}) == "******"
    answer = service.get("/env")
    assert answer.status == 500
    assert "hunter2" not in answer.text


@pytest.mark.parametrize("body", [{"a": "x" * 2**21, "b": ["y" * 2**21] * 2}, {"a": [1] * 2_000_000}])
def test_s23_an_answer_too_large_to_be_masked_is_a_failure(service, body):
    service.manager.get_inference_info = lambda: body
    answer = service.get("/inference_info")
    assert (answer.status, answer.json()["error"]) == (500, "Failed to get inference info")
    assert "too large to be masked" in answer.json()["message"]


def test_s23_a_text_too_long_to_be_looked_through_is_masked_whole(service, monkeypatch):
    service.manager.get_inference_info = lambda: {"a": "x" * 2**21, "b": "y"}
    assert service.get("/inference_info").json() == {"a": "******", "b": "y"}


def test_s24_the_repr_of_settings_holds_no_secret():
    shown = repr(Settings(audit_file="/var/log/password=hunter2", redact_patterns=("token=hunter2",)))
    assert "hunter2" not in shown
    assert shown.startswith("Settings(enabled=False, host='127.0.0.1', port_start=6999")
