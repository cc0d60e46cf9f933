"""Where credentials are asked for, a body of more than 64 KiB is read only of whoever has shown some (S42)."""

import socket

import pytest

from lmcache_admin.security.tokens import new_token

KIB = 1024
HEAD = "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{more}\r\n"
LENGTHS = {
    "declared": "Content-Length: 900000\r\n",
    "just above": f"Content-Length: {64 * KIB + 1}\r\n",
    "asking first": "Content-Length: 900000\r\nExpect: 100-continue\r\n",
}


@pytest.fixture
def guarded(serve, tmp_path):
    """A server in mode token, and a good token."""
    path = tmp_path / "tokens"
    secret, token = new_token("ann", "admin")
    path.write_text(token.line)
    path.chmod(0o600)
    return serve(extra={"auth": "token", "token_file": str(path)}), secret


def connect(running):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(30)
    connection.connect(running.target)
    return connection


def rest(connection):
    """What comes until the server closes."""
    received = b""
    while part := connection.recv(65536):
        received += part
    return received


def head(path="/conf", more=""):
    return HEAD.format(path=path, more=more).encode()


@pytest.mark.parametrize("path", ["/conf", "/no/such/path", "/cache/load-fs-chunks", "/session"])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("credentials", ["", "Authorization: Bearer lmca_wrong\r\n", "Cookie: lmcache_admin=x\r\n"])
def test_s42_large_body_of_a_stranger_is_refused_before_it_comes(guarded, length, path, credentials):
    with connect(guarded[0]) as connection:
        connection.sendall(head(path, LENGTHS[length] + credentials))
        received = rest(connection)  # nothing of the body was sent
    lines, _, body = received.partition(b"\r\n\r\n")
    assert lines.startswith(b"HTTP/1.1 401 ")
    assert b"WWW-Authenticate: Bearer" in lines
    assert b"Connection: close" in lines
    assert b"X-Content-Type-Options: nosniff" in lines
    assert body == (
        b'{"error": "Unauthorized", "message": "A body of more than 64 KiB needs credentials; it was not read."}'
    )


def test_s42_large_body_in_chunks_of_a_stranger_is_refused_when_it_passes_64_kib(guarded):
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    with connect(guarded[0]) as connection:
        connection.sendall(head(more="Transfer-Encoding: chunked\r\n"))
        for _ in range(17):
            connection.sendall(chunk)
        assert rest(connection).startswith(b"HTTP/1.1 401 ")


def test_s42_stranger_who_sends_his_large_body_at_once_sees_the_refusal(guarded):
    with connect(guarded[0]) as connection:
        connection.sendall(head(more="Content-Length: 300000\r\n") + b"x" * 300_000)
        assert rest(connection).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("size", [0, 10, 64 * KIB])
def test_s42_smaller_body_of_a_stranger_is_read_and_refused_by_the_gate(guarded, size):
    running, _ = guarded
    answer = running.post("/conf", b" " * size)
    assert (answer.status, answer.json()["message"].startswith("Who is asking is not known")) == (401, True)


def test_s42_large_body_with_credentials_is_read(guarded):
    running, secret = guarded
    body = b'{"min_retrieve_tokens": 7}' + b" " * 900_000
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    assert running.request("POST", "/conf", body, headers).status == 200
    chunks = [body[start : start + 4096] for start in range(0, len(body), 4096)]
    connection = running.connection()
    connection.request("POST", "/conf", iter(chunks), headers, encode_chunked=True)
    assert connection.getresponse().status == 200
    connection.close()


def test_s42_refusal_before_the_body_has_its_line_in_the_audit(guarded, eventually):
    running, secret = guarded
    with connect(running) as connection:
        connection.sendall(head(more=LENGTHS["declared"]))
        rest(connection)
    admin = {"Authorization": f"Bearer {secret}"}
    entries = eventually(lambda: running.request("GET", "/audit", headers=admin).json()["entries"])
    told = {key: entries[0][key] for key in ("actor", "method", "route", "outcome", "status")}
    assert told == {"actor": "nobody", "method": "POST", "route": "/conf", "outcome": "refused", "status": 401}


def test_s42_large_body_is_read_of_whom_the_proxy_names(serve):
    running = serve(
        extra={"auth": "proxy", "proxy_user_header": "X-Remote-User", "proxy_role_header": "X-Remote-Role"}
    )
    body = b'{"min_retrieve_tokens": 7}' + b" " * 900_000
    headers = {"Content-Type": "application/json", "X-Remote-User": "ann", "X-Remote-Role": "operator"}
    assert running.request("POST", "/conf", body, headers).status == 200
    with connect(running) as connection:
        connection.sendall(head(more=LENGTHS["declared"]))
        assert rest(connection).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("tcp", [False, True])
def test_s42_nobody_is_asked_where_the_mode_does_not(serve, tcp):
    body = b'{"min_retrieve_tokens": 7}' + b" " * 900_000
    assert serve(tcp=tcp).post("/conf", body).status == 200


def test_s42_address_of_a_stranger_over_tcp_is_in_the_audit(serve, tmp_path, eventually):
    path = tmp_path / "tokens"
    secret, token = new_token("ann", "admin")
    path.write_text(token.line)
    path.chmod(0o600)
    running = serve(tcp=True, extra={"auth": "token", "token_file": str(path)})
    with socket.create_connection(("127.0.0.1", running.target), 30) as connection:
        connection.sendall(head(more=LENGTHS["declared"]))
        assert rest(connection).startswith(b"HTTP/1.1 401 ")
    admin = {"Authorization": f"Bearer {secret}"}
    entries = eventually(lambda: running.request("GET", "/audit", headers=admin).json()["entries"])
    assert entries[0]["address"] == "127.0.0.1"
