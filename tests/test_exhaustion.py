"""A process without descriptors, threads or memory: health answers, little is logged, and it recovers alone (S67)."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

START = """
import http.client, logging, os, resource, socket, sys, threading, time
from lmcache_admin import InternalAPIServer
from lmcache_admin.engine import Configuration, Manager

records = []
class Keep(logging.Handler):
    def emit(self, record):
        records.append(record.getMessage())
logging.getLogger("lmcache_admin").addHandler(Keep())
logging.getLogger("lmcache_admin.access").propagate = False

keys = {"internal_api_server_enabled": True, "internal_api_server_port_start": int(sys.argv[1]), "chunk_size": 16,
        "max_local_cpu_size": 0.01, "extra_config": {"internal_api_server_deadlines": {"change": 2.0, "read": 2.0}}}
manager = Manager(Configuration.from_mapping(keys, {}))
manager.start()
server = InternalAPIServer(manager)

def ask(method, path, connection=None):
    one = connection or http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    one.request(method, path)
    answer = one.getresponse()
    body = answer.read()
    if connection is None:
        one.close()
    return answer.status, body

def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)
"""

DESCRIPTORS = """
server.start()
assert ask("GET", "/healthz")[0] == 200
clients = [socket.socket() for _ in range(40)]
taken = []
try:
    while True:
        taken.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
records.clear()
since = time.monotonic()
for client in clients[:20]:
    client.settimeout(60)
    client.connect(("127.0.0.1", server.port))
    client.sendall(b"GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")
    received = b""
    while part := client.recv(4096):
        received += part
    assert received.startswith(b"HTTP/1.1 200 "), received
for client in clients[20:]:  # idle ones: each makes room for the next
    client.connect(("127.0.0.1", server.port))
until(lambda: time.monotonic() - since > 3)
seconds = time.monotonic() - since
assert len(records) <= seconds + 1, records
for number in taken:
    os.close(number)
for client in clients:
    client.close()
until(lambda: ask("PUT", "/freeze/enable")[0] == 200)
assert ask("GET", "/metrics")[0] == 200
"""

THREADS = """
def leave(mebibytes):
    # less room in the address space than the stack of a thread has: none can be started
    pages = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (pages + mebibytes * 2**20, resource.RLIM_INFINITY))

threading.stack_size(64 * 2**20)
server.start()
until(lambda: ask("GET", "/readyz")[0] == 200)
kept = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
assert ask("GET", "/healthz", kept)[0] == 200
hold = threading.Event()
manager.lmcache_engine.freeze = lambda enabled: hold.wait(60)
manager.lmcache_engine.is_frozen = lambda: hold.wait(60)
leave(24)
try:
    threading.Thread(target=print).start()
    raise AssertionError("there is room for a thread")
except RuntimeError:
    pass
records.clear()
for path in ("/healthz", "/version"):
    assert ask("GET", path, kept)[0] == 200
assert ask("PUT", "/freeze/enable")[0] == 504  # its thread is written off, and none takes its place
assert ask("GET", "/freeze/status")[0] == 504  # it held the loop, and the spare one took that over
assert ask("DELETE", "/cache/clear")[0] == 200  # a job runs in the thread that asked for it
for path in ("/healthz", "/version", "/readyz", "/metrics"):
    assert ask("GET", path, kept)[0] == 200, path
since = time.monotonic()
until(lambda: time.monotonic() - since > 2.5)
assert len(records) <= 12, records
assert any("can't start new thread" in record for record in records), records
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
hold.set()
until(lambda: "lmcache-admin-spare" in [thread.name for thread in threading.enumerate()])
until(lambda: ask("PUT", "/freeze/enable")[0] != 504 and server.server.lanes.counters()["change"].threads == 4)
kept.close()
"""

MEMORY = """
server.start()
until(lambda: ask("GET", "/readyz")[0] == 200)
pages = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (pages + 32 * 2**20, resource.RLIM_INFINITY))
for _ in range(3):
    status, body = ask("POST", "/cache/store?tokens_mock=0,1000000")
    assert status == 500, (status, body)
    assert b"Failed to store cache" in body, body
    assert ask("GET", "/healthz")[0] == 200
    assert ask("GET", "/freeze/status")[0] == 200
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert ask("POST", "/cache/store?tokens_mock=0,160")[0] == 200
"""

END = """
server.stop()
manager.stop()
left = [thread.name for thread in threading.enumerate() if thread.name.startswith("lmcache-admin")]
assert left == [], left
print("recovered")
"""


@pytest.mark.parametrize(
    ("what", "limit"),
    [(DESCRIPTORS, 128), (THREADS, 0), (MEMORY, 0)],
    ids=["descriptors", "threads", "memory"],
)
def test_s67_process_that_is_short_of(free_port, what, limit):
    """... serves health all the while, and everything afterwards."""
    code = f"import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))\n" if limit else ""
    code += START + textwrap.dedent(what) + END
    command = [sys.executable, "-c", code, str(free_port(2))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.endswith("recovered\n"), done.stdout + done.stderr
