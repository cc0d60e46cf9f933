"""Addresses: TCP ports, and Unix sockets that take nothing away from anybody."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from lmcache_admin.serving.lanes import Route
from lmcache_admin.serving.server import HTTPServer, ServerOptions, StartError


def application(_environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def classify(method: str, path: str) -> Route:
    return Route(f"{method} {path}", "answer", "light", quick=True)


def server(**options: Any) -> HTTPServer:
    return HTTPServer(application, classify, ServerOptions(**options))


def test_port_0_becomes_the_port_that_the_system_chose(serve, page):
    site = serve({"/": page(lambda _: b"ok")})
    assert site.server.port > 0
    assert site.get("/").body == b"ok"
    assert site.server.socket_path is None


def test_s70_port_in_use_is_one_line(serve, page):
    site = serve({"/": page(lambda _: b"ok")})
    with pytest.raises(StartError) as raised:
        server(port=site.server.port).start()
    assert str(raised.value) == f"cannot listen on 127.0.0.1:{site.server.port}: address already in use"


def test_port_is_free_again_after_stop(serve, page):
    site = serve({"/": page(lambda _: b"ok")})
    assert site.get("/").body == b"ok"
    site.server.stop()
    second = server(port=site.server.port)
    second.start()
    second.stop()


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1", "\udcff", "x" * 300])
def test_s70_host_that_is_not_ours_is_one_line(host):
    with pytest.raises(StartError) as raised:
        server(host=host).bind()
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith("cannot listen on ")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "admin_6999"


def test_s60_unix_socket_serves_with_mode_0600_and_is_gone_after_stop(serve, page, path):
    site = serve({"/": page(lambda environ: environ["REMOTE_ADDR"].encode())}, socket_path=str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert site.get("/").body == b"localhost"
    assert (site.server.port, site.server.socket_path) == (None, str(path))
    site.server.stop()
    assert not path.exists()


def test_s60_mode_of_the_socket_is_the_settings(path):
    one = server(socket_path=str(path), socket_mode=0o660)
    before = os.umask(0o077)
    try:
        one.start()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    one.stop()


def test_missing_folders_are_made_for_us_alone(tmp_path):
    path = tmp_path / "one" / "two" / "admin"
    one = server(socket_path=str(path))
    one.start()
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (path.parent, path.parent.parent)] == [0o700, 0o700]
    one.stop()


def test_s60_stale_socket_is_replaced(path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    one = server(socket_path=str(path))
    one.start()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    one.stop()


def test_s60_live_socket_of_another_is_not_taken_over(path):
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(path))
        alive.listen(1)
        inode = path.stat().st_ino
        with pytest.raises(StartError, match="another process serves it"):
            server(socket_path=str(path)).start()
        assert path.stat().st_ino == inode
        path.unlink()


def test_s60_live_socket_whose_queue_is_full_is_not_taken_over(path):
    with socket.socket(socket.AF_UNIX) as alive, socket.socket(socket.AF_UNIX) as one:
        alive.bind(str(path))
        alive.listen(0)
        one.connect(str(path))
        with pytest.raises(StartError, match="another process serves it"):
            server(socket_path=str(path)).start()
        path.unlink()


def test_s60_regular_file_in_the_way_is_kept(path):
    path.write_text("precious")
    with pytest.raises(StartError, match="in the way"):
        server(socket_path=str(path)).start()
    assert path.read_text() == "precious"


def test_s60_symlink_in_the_way_is_kept(path, tmp_path):
    target = tmp_path / "target"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(target))
    path.symlink_to(target)
    with pytest.raises(StartError, match="in the way"):
        server(socket_path=str(path)).start()
    assert path.is_symlink()
    assert target.exists()
    target.unlink()


def test_s60_folder_that_others_may_write_to_is_refused_unless_sticky(tmp_path):
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(StartError, match="others may write to the folder"):
        server(socket_path=str(folder / "admin")).start()
    folder.chmod(0o1777)
    one = server(socket_path=str(folder / "admin"))
    one.start()
    one.stop()


def test_s60_socket_that_another_has_put_in_our_place_is_kept_at_stop(path):
    one = server(socket_path=str(path))
    one.start()
    path.rename(path.with_name("moved"))
    path.write_text("of another")
    one.stop()
    assert path.read_text() == "of another"
    path.with_name("moved").unlink()


def test_path_over_107_bytes_is_one_line(tmp_path):
    path = str(tmp_path / "x").ljust(108, "x")
    with pytest.raises(StartError, match="the path has 108 bytes, 107 are allowed"):
        server(socket_path=path).start()


def test_path_of_107_bytes_serves(tmp_path):
    one = server(socket_path=str(tmp_path / "x").ljust(107, "x"))
    one.start()
    one.stop()


def test_s70_folder_that_is_a_file_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError) as raised:
        server(socket_path=str(tmp_path / "file" / "admin")).start()
    assert "\n" not in str(raised.value)


def test_failed_start_leaves_nothing_open(path):
    path.write_text("precious")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(StartError):
            server(socket_path=str(path)).start()
    assert len(os.listdir("/proc/self/fd")) == before
