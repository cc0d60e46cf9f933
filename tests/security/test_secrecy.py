"""No secret leaves, whatever its name, its signs and the text around it; prose stays as it is (S21, S22, S24)."""

import json
import traceback

import pytest

from lmcache_admin.security.redaction import Redactor

#: Names as they are met, each of a secret.
NAMES = """
DB_PASS MYSQL_PASS REDIS_PASS SSHPASS dbpass DB_PASS2 PGPASSWORD userPassword DbPwd PASSPHRASE OLD_PASSWORD
MINIO_TOKEN MINIO_SESSION_TOKEN STOREFRONT_API_TOKEN STORE_TOKEN CHUNK_TOKEN NUM_TOKEN MAX_API_TOKEN PROMPT_API_TOKEN
LOOKUP_TOKEN HITACHI_TOKEN TOTALLY_PRIVATE_TOKEN authToken mysecrettoken hf_token ACCESS_TOKENS VAULT_TOKEN_ID
OPENAI_KEY STRIPE_KEY STRIPE_KEY_LIVE FERNET_KEY HMAC_KEY ENC_KEY AES_KEY TLS_KEY MASTERKEY privateKey X-Api-Key api_key
API_KEYS AZURE_STORAGE_KEY1 SECRET_KEY_BASE client-key-data REDISCLI_AUTH HTTP_AUTH Authorization Cookie MY_CREDS
s3_credentials VAULT_SECRET_ID SESSION_ID JWT OTP SALT LICENSE PRIVATE store.password connection_string
SLACK_WEBHOOK_URL
"""
#: Secrets with the signs that people put into passwords; WORDS stands where a text may not be cut.
SECRETS = [
    "Zq8vWORDSx91",
    "Zq8v/WORDS+x91==",
    "Zq8v,WORDSx",
    "Zq8v;WORDS",
    "Zq8v)WORDS",
    "Zq8v@WORDS",
    "Zq8v:WORDS",
    "WORDSxy",
]


def as_traceback(name, secret):
    """What Python prints of a call that failed with name and secret in its message."""

    def connect():
        raise ConnectionError(f"cannot use {name}={secret} (refused)")

    with pytest.raises(ConnectionError) as failure:
        connect()
    return "".join(traceback.format_exception(failure.value)) + f'    connect({name}="{secret}")\n'


#: Where a name and its secret stand: context -> what is to be redacted.
CONTEXTS = {
    "variable": lambda name, secret: {name: secret},
    "everything below a name": lambda name, secret: {name: {"a": [{"x": secret}], "b": secret.encode()}},
    "name and value": lambda name, secret: [{"name": name, "value": secret}, [name, secret]],
    "JSON in a value": lambda name, secret: {"V": json.dumps({"a": {name: secret}})},
    "JSON in a text": lambda name, secret: f"read {json.dumps({'a': {name: secret}, 'b': 1}, indent=1)}",
    "object in a text": lambda name, secret: f"read {json.dumps({name: {'a': {'b': 1}, 'v': secret}, 'z': 1})}",
    "JSON in JSON": lambda name, secret: f"read {json.dumps(json.dumps({'a': {name: secret}}))}",
    "YAML": lambda name, secret: f"a: 1\nb:\n  {name}: {secret}\n  c: 1\n",
    "YAML with blanks": lambda name, secret: f"a: 1\n{name}: correct horse {secret}\n",
    "YAML folded": lambda name, secret: f"{name}: >-\n  {secret}\nb: 1\n",
    "YAML block": lambda name, secret: f"x:\n  - {name}: |\n      line\n\n      {secret}\n    b: 1\n",
    "YAML list": lambda name, secret: f"{name}:\n- a\n- {secret}\nb: 1\n",
    "YAML objects": lambda name, secret: f"{name}:\n  - name: a\n    value: {secret}\nb: 1\n",
    "query string": lambda name, secret: f"https://host:1/path?x=1&{name}={secret}&y=2",
    "quoted query": lambda name, secret: f"/path?q={name}%3D{secret}",
    "command line": lambda name, secret: f"serve --port 1 --{name} {secret} --verbose --{name}={secret}",
    "quoted argument": lambda name, secret: f"serve --{name} '{secret} and {secret}' -v",
    "words of a command": lambda name, secret: ["serve", f"--{name}", secret, f"--{name}={secret}"],
    "shell": lambda name, secret: f"A=1 {name}={secret} B=2; export {name}='{secret} x'",
    "header": lambda name, secret: f"GET / HTTP/1.1\r\n{name}: {secret}\r\nHost: x",
    "repr": lambda name, secret: f"Config(a=1, {name}={secret!r}, b={{'{name}': {secret.encode()!r}}})",
    "repr of an object": lambda name, secret: f"Config({name}=Secret(value={secret!r}), b=2)",
    "traceback": as_traceback,
    "connection string": lambda name, secret: f"Server=x;{name}={secret};Uid=1",
    "TOML": lambda name, secret: f'[a]\n{name} = "{secret}"\n',
    "XML": lambda name, secret: f"<a><{name}>{secret}</{name}></a>",
}
#: What logs, stacks and errors say of keys, tokens and passwords without holding one.
PROSE = """
token count 5
passed 3 of 4 tests
key: LocalCPUBackend
cache key: m@1@0@12ab
chunk_hash: 0x12ab
Retrieved 256 out of 512 tokens: 3.2 ms
Total tokens 900, LMCache hit tokens: 256, need to load: 0
time to first token: 35 ms
max_tokens=5, num_prompt_tokens: 7, eos_token_id=2, prompt_token_ids=[1, 2]
Set log level of lmcache.v1.token_database: INFO
key=CacheEngineKey(fmt='vllm', model_name='m', world_size=1, worker_id=0, chunk_hash=123)
password authentication failed for user "bob"
the password is wrong, token is expired
using password: YES
hf_token=None, api_key=None, use_auth=False
Basic configuration loaded, basic auth is off
Thread: <Thread(worker, started daemon 140)>
  File "/opt/engine/tokenizer.py", line 3, in get_token
    key = self.cache_key(chunk)
    def passthrough(self, key: str, tokens: list[int]) -> None:
compass: north, author: bob, monkey: yes, signal: SIGTERM
hf_config_path=/models/a, hf_overrides={}
http://localhost:8080/users and https://host/@user/x and git@host:x/y.git and ssh://git@host/x
docker run -u 1000:1000 -p 80:80 registry:5000/engine@sha256:12ab
mkdir -p /var/lib/mysql
"""


@pytest.mark.parametrize("line", PROSE.strip("\n").splitlines())
def test_s22_line_of_prose_stays_as_it_is(line):
    assert Redactor().mask_text(line) == line


@pytest.mark.parametrize("context", CONTEXTS)
def test_s21_no_secret_leaves_whatever_its_name_and_its_signs(context):
    redactor = Redactor()
    shown = {
        (name, secret): str(redactor.mask(CONTEXTS[context](name, secret)))
        for name in NAMES.split()
        for secret in SECRETS
    }
    assert {pair: text for pair, text in shown.items() if "WORDS" in text} == {}


def test_names_and_their_neighbours_stay():
    shown = Redactor().mask("A=1 DB_PASS=hunter2 B=2; say(x='1', api_key='hunter2', y=3) redis-cli -a hunter2 ping")
    assert shown == "A=1 DB_PASS=****** B=2; say(x='1', api_key='******', y=3) redis-cli -a ****** ping"
    shown = Redactor().mask("a: 1\nsecrets:\n  - name: x\n    value: hunter2\nb: 2\n")
    assert shown == "a: 1\nsecrets:\n  ******\nb: 2\n"


def test_number_is_masked_and_boolean_and_null_are_not():
    below = {"redis_password": 918273645, "token": 1.5, "api_key": True, "secret": None, "credentials": {"on": False}}
    counts = {"num_tokens": 5, "eos_token_id": 2}
    hidden = {"redis_password": "******", "token": "******"}
    assert Redactor().mask({**below, **counts}) == {**below, **hidden, **counts}


def test_secret_in_the_name_of_an_entry_is_masked():
    assert Redactor().mask({"redis://bob:hunter2@cache": "up"}) == {"redis://bob:******@cache": "up"}
