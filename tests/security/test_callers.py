"""Who is calling, and what the role of that caller allows: own user, root and strangers, over TCP and socket."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lmcache_admin.security import callers
from lmcache_admin.security.sock_diag import NotToldError

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
NOBODY = 65534
#: A client of another user: argv is uid, target and requests as JSON; it prints the statuses.
STRANGER = """
import http.client, json, os, socket, sys
uid, target, requests = int(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
"x".encode("idna")  # loaded while the interpreter's files may be read
os.setgroups([]); os.setgid(uid); os.setuid(uid)
statuses = []
for method, path in requests:
    connection = http.client.HTTPConnection("127.0.0.1", target if isinstance(target, int) else 1)
    if isinstance(target, str):
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(target)
    connection.request(method, path)
    statuses.append(connection.getresponse().status)
    connection.close()
print(json.dumps(statuses))
"""
#: A client of another user that does not wait for its answers; the kernel then lists its sockets as those of root.
HASTY = """
import os, socket, sys
"x".encode("idna")  # loaded while the interpreter's files may be read
os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
for _ in range(60):
    with socket.create_connection(("127.0.0.1", int(sys.argv[2]))) as connection:
        connection.sendall(b"PUT /freeze/enable HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
"""
ASKED = [("GET", "/conf"), ("GET", "/freeze/status"), ("PUT", "/freeze/enable"), ("GET", "/audit")]


@pytest.fixture
def ask_as():
    """Send requests as another user and return their statuses."""

    def ask(uid, target, requests=ASKED):
        command = [sys.executable, "-c", STRANGER, str(uid), json.dumps(target), json.dumps(requests)]
        return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)

    return ask


@pytest.fixture
def public_prefix():
    """A socket's prefix in a folder that every user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="lmcache-admin-tests-"))
    folder.chmod(0o755)
    yield str(folder / "api")
    shutil.rmtree(folder)


def statuses(running, requests=ASKED):
    return [running.request(method, path).status for method, path in requests]


@pytest.fixture(params=["asked", "listed"])
def ways(request, monkeypatch):
    """Both ways in which the kernel tells whose a connection is: the second is for where the first is forbidden."""
    if request.param == "listed":

        def forbidden(*_):
            raise NotToldError("forbidden")

        monkeypatch.setattr(callers, "tcp_owner", forbidden)


@pytest.mark.usefixtures("ways")
def test_s15_own_user_over_tcp_is_operator(serve):
    assert statuses(serve(tcp=True)) == [200, 200, 200, 403]


def test_own_user_over_the_socket_is_admin(service):
    assert statuses(service) == [200, 200, 200, 200]


def test_with_auth_off_everybody_is_admin(serve):
    assert statuses(serve(tcp=True, extra={"auth": "off"})) == [200, 200, 200, 200]


@needs_root
@pytest.mark.usefixtures("ways")
def test_s15_another_user_over_tcp_is_viewer(serve, ask_as):
    running = serve(tcp=True)
    assert ask_as(NOBODY, running.target) == [200, 200, 403, 403]
    assert running.get("/freeze/status").json()["freeze"] is False


@needs_root
@pytest.mark.usefixtures("ways")
def test_another_user_who_does_not_wait_for_the_answer_is_not_taken_for_root(serve, eventually):
    running = serve(tcp=True)
    subprocess.run([sys.executable, "-c", HASTY, str(NOBODY), str(running.target)], check=True, timeout=60)
    audit = running.server.service.audit  # nobody may read it over TCP
    eventually(lambda: audit.newest(1), "an entry")
    running.put("/hot_cache/enable")
    assert {entry["outcome"] for entry in audit.newest(1000) if entry["route"] == "/freeze/enable"} == {"refused"}
    assert running.get("/freeze/status").json()["freeze"] is False


@needs_root
def test_another_user_over_an_open_socket_is_viewer(serve, ask_as, public_prefix):
    running = serve(internal_api_server_socket_path_prefix=public_prefix, extra={"socket_mode": 0o666})
    assert ask_as(NOBODY, running.target) == [200, 200, 403, 403]
    entry = running.get("/audit").json()["entries"][0]
    assert (entry["uid"], entry["actor"], entry["role"]) == (NOBODY, f"uid {NOBODY}", "viewer")


@needs_root
@pytest.mark.parametrize("tcp", [True, False])
def test_any_local_user_is_operator_where_the_setting_says_so(serve, ask_as, public_prefix, tcp):
    place = {} if tcp else {"internal_api_server_socket_path_prefix": public_prefix}
    running = serve(tcp=tcp, extra={"local_users": "any", "socket_mode": 0o666}, **place)
    assert ask_as(NOBODY, running.target) == [200, 200, 200, 403]


@needs_root
def test_socket_is_closed_to_another_user_by_default(serve, ask_as, public_prefix):
    running = serve(internal_api_server_socket_path_prefix=public_prefix)
    with pytest.raises(subprocess.CalledProcessError) as failed:
        ask_as(NOBODY, running.target)
    assert b"PermissionError" in failed.value.stderr


@needs_root
def test_s15_level_of_a_logger_is_a_change_for_another_user(serve, ask_as):
    running = serve(tcp=True)
    asked = [("GET", "/loglevel?logger_name=tests.callers"), ("GET", "/loglevel?logger_name=tests.callers&level=ERROR")]
    assert ask_as(NOBODY, running.target, asked) == [200, 403]
    assert running.get("/loglevel?logger_name=tests.callers").text == "tests.callers: NOTSET"


@pytest.mark.parametrize(
    "header",
    ["X-Forwarded-User", "X-Role", "X-Remote-User", "X-Real-IP", "Remote-User", "Authorization", "Cookie"],
)
def test_s18_no_header_lends_a_role(serve, header):
    answer = serve(tcp=True).request("GET", "/audit", headers={header: "admin"})
    assert answer.status == 403


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_s18_no_header_makes_a_change_of_a_read(service, header):
    service.request("GET", "/freeze/status", headers={header: "PUT", "X-Original-URL": "/freeze/enable"})
    assert service.get("/freeze/status").json()["freeze"] is False


def test_refusal_says_which_role_is_needed_and_which_the_caller_has(serve):
    body = serve(tcp=True).get("/audit").json()
    refusal = f"This needs the role admin; uid {os.getuid()} has the role operator."
    assert body["message"] == f"{refusal} Over the Unix socket the engine's own user is admin."


@pytest.mark.usefixtures("ways")
def test_own_user_over_ipv6_loopback_is_operator(serve):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    running = serve(tcp=True, internal_api_server_host="::1")
    connection = http.client.HTTPConnection("::1", running.target, timeout=30)
    for method, path, status in [("GET", "/version", 200), ("PUT", "/freeze/enable", 200), ("GET", "/audit", 403)]:
        connection.request(method, path)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
    connection.close()


@pytest.mark.parametrize(("over_tcp", "role"), [(True, "operator"), (False, "admin")])
def test_s12_where_the_kernel_does_not_tell_file_modes_and_loopback_decide(serve, monkeypatch, over_tcp, role):
    # another system, which this one cannot be: the one place where a part of the machine is played
    monkeypatch.delattr(socket, "SO_PEERCRED")
    monkeypatch.setattr(callers, "_TABLE", Path("/no/such/table"))
    monkeypatch.setattr(callers, "tcp_uid", lambda environ: None)
    running = serve(tcp=over_tcp)
    assert running.put("/freeze/enable").status == 200
    assert running.get("/audit").status == (200 if role == "admin" else 403)
    entry = running.server.service.audit.newest(5)[-1]
    assert (entry["actor"], entry["role"], entry["uid"], entry["pid"]) == ("local client", role, None, None)
