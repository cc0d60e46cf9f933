"""Start, stop and fork; servers that share nothing."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import pytest

from lmcache_admin.serving.lanes import Route
from lmcache_admin.serving.server import HTTPServer, ServerOptions, StartError

# Python 3.12 and later warn of each fork of a process with threads, which is what is tested here
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


def echo(environ: Any) -> bytes:
    return environ["PATH_INFO"].encode()


def application(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def classify(method: str, path: str) -> Route:
    return Route("answer", "answer", "light", quick=True)


def threads_of_ours() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith(("lmcache-admin", "api-server"))]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_stop_leaves_no_thread_descriptor_or_socket_file(serve, page, tmp_path):
    before = descriptors()
    site = serve({"/": page(echo), "/quick": page(echo, quick=True)}, socket_path=str(tmp_path / "admin"))
    assert site.get("/").status == 200
    with site.connect() as idle:
        idle.sendall(b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(4096).endswith(b"/quick")
        site.server.stop()
        assert idle.recv(10) == b""
    assert threads_of_ours() == []
    assert descriptors() == before
    assert list(tmp_path.iterdir()) == []


def test_stop_twice_and_from_several_threads_is_harmless(serve, page):
    site = serve({"/": page(echo)})
    threads = [threading.Thread(target=site.server.stop) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    site.server.stop()
    assert threads_of_ours() == []


def test_stop_before_start_and_before_bind_is_harmless():
    HTTPServer(application, classify, ServerOptions()).stop()
    before = descriptors()
    server = HTTPServer(application, classify, ServerOptions())
    server.bind()
    server.stop()
    server.start()
    assert threads_of_ours() == []
    assert descriptors() == before


def test_stop_waits_for_the_answers_under_way(serve, page, release, until):
    def hang(_environ: Any) -> bytes:
        release.wait()
        return b"in time"

    site = serve({"/hang": page(hang)}, deadlines={"read": 60})
    answers = site.ask("/hang")
    until(lambda: site.lane("read").busy == 1)
    stopper = threading.Thread(target=site.server.stop, args=(20,))
    stopper.start()
    until(lambda: site.server._loop.draining)
    release.set()
    stopper.join()
    until(lambda: answers)
    assert answers[0].body == b"in time"
    assert answers[0].headers["Connection"] == "close"


def test_stop_with_calls_that_never_return_comes_back_and_tells_their_clients(serve, page, release, until):
    def hang(_environ: Any) -> bytes:
        release.wait()
        return b"late"

    site = serve({"/hang": page(hang), "/quick": page(hang, quick=True)}, deadlines={"read": 60})
    begun, quick = site.ask("/hang", times=4), site.ask("/quick")
    until(lambda: site.lane("read").busy == 5)
    waiting = site.ask("/hang", times=2)
    until(lambda: site.lane("read").queued == 2)
    site.server.stop(0.2)
    until(lambda: [len(answers) for answers in (waiting, begun, quick)] == [2, 4, 1])
    for answer in waiting:
        assert (answer.status, answer.json["error"]) == (503, "Not served: ask for /hang")
        assert answer.json["message"] == "the server is stopping"
    for answer, path in [(answer, "/hang") for answer in begun] + [(quick[0], "/quick")]:
        assert (answer.status, answer.json["error"]) == (503, f"Stopped during: ask for {path}")
        assert f"GET {path} had begun, and whether it ended is not known" in answer.json["message"]
        assert "Retry-After" not in answer.headers
    release.set()
    until(lambda: not threads_of_ours())


def test_view_may_stop_its_own_server(serve, page, until):
    site = serve({"/stop": page(lambda _: site.server.stop(0.2) or b"stopped"), "/": page(echo)})
    site.ask("/stop")
    until(lambda: not threads_of_ours())


def test_quick_view_may_stop_its_own_server(serve, page, until):
    site = serve({"/stop": page(lambda _: site.server.stop(0.2) or b"stopped", quick=True)})
    site.ask("/stop")
    until(lambda: not threads_of_ours())


def test_two_servers_in_a_process_share_nothing(serve, page, release, until):
    def hang(_environ: Any) -> bytes:
        release.wait()
        return b"late"

    one = serve({"/": page(hang)}, lane_threads={"read": 1}, lane_queues={"read": 1}, deadlines={"read": 60})
    two = serve({"/": page(echo)})
    one.ask("/", times=2)
    until(lambda: one.lane("read").queued == 1)
    assert one.get("/").status == 503
    assert two.get("/").body == b"/"
    assert two.lane("read").rejected == 0
    one.server.stop(0)
    assert two.get("/").body == b"/"


def test_stopped_server_is_collected():
    server = HTTPServer(application, classify, ServerOptions())
    server.start()
    server.stop()
    gone = weakref.ref(server)
    del server
    gc.collect()
    assert gone() is None


def in_child(work: Any) -> int:
    """Exit status of a forked child that runs `work`."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def listening(path: Path) -> list[str]:
    """Inodes of the sockets at a path, as the kernel lists them."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    return [line.split()[6] for line in lines if line.endswith(str(path))]


def open_sockets() -> str:
    """What this process' descriptors stand for."""
    links = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
    return " ".join(links)


def test_s69_forked_child_has_no_server_and_no_error(serve, page, tmp_path):
    path = tmp_path / "admin"
    site = serve({"/": page(echo)}, socket_path=str(path))
    with site.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(4096).endswith(b"/")
        server = site.server
        assert [inode for inode in listening(path) if inode in open_sockets()]

        def work() -> None:
            assert not [inode for inode in listening(path) if inode in open_sockets()]
            server.stop()
            server.start()
            assert path.exists()

        assert in_child(work) == 0
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(4096).endswith(b"/")
    assert path.exists()
    assert site.get("/").body == b"/"


def test_s69_port_is_free_when_the_parent_has_stopped_and_a_child_lives(serve, page):
    site = serve({"/": page(echo)})
    port = site.server.port
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, b"x")
        signal.pause()
        os._exit(0)
    try:
        assert os.read(read, 1) == b"x"
        site.server.stop()
        with pytest.raises(ConnectionRefusedError):
            site.connect()
        second = HTTPServer(application, classify, ServerOptions(port=port))
        second.start()
        second.stop()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(read)
        os.close(write)


def test_s69_fork_under_load_leaves_the_parent_serving(serve, page):
    site = serve({"/": page(echo), "/quick": page(echo, quick=True)})
    end = time.monotonic() + 1
    done = threading.Event()

    def load() -> None:
        while not done.is_set():
            assert site.get("/").status == 200
            assert site.get("/quick").status == 200

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    while time.monotonic() < end:
        assert in_child(lambda: site.server.stop()) == 0
    done.set()
    for thread in threads:
        thread.join()
    assert site.get("/").body == b"/"


@pytest.mark.parametrize("started", [0, 5, 18, 19])
def test_s67_machine_without_threads_is_one_line_and_leaves_nothing(monkeypatch, tmp_path, started):
    # a limit for threads does not bind root, so the refusal of the system is played
    start, count = threading.Thread.start, [0]

    def scarce(thread: threading.Thread) -> None:
        count[0] += 1
        if count[0] > started:
            raise RuntimeError("can't start new thread")
        start(thread)

    before = descriptors()
    server = HTTPServer(application, classify, ServerOptions(socket_path=str(tmp_path / "admin")))
    monkeypatch.setattr(threading.Thread, "start", scarce)
    with pytest.raises(StartError, match="cannot start the server: can't start new thread"):
        server.start()
    monkeypatch.undo()
    assert threads_of_ours() == []
    assert descriptors() == before
    assert list(tmp_path.iterdir()) == []


def test_s67_loop_that_finds_no_spare_thread_gets_one_later(serve, page, monkeypatch, release, until):
    # as above: the system's refusal is played
    def hang(_environ: Any) -> bytes:
        release.wait()
        return b"late"

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    site = serve({f"/{n}": page(hang, quick=True) for n in (1, 2)} | {"/": page(echo)}, deadlines={"read": 60})
    with site.connect() as one, site.connect() as two:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            one.sendall(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n")
            until(lambda: site.lane("read").busy == 1)
        until(lambda: "lmcache-admin-spare" in threads_of_ours())
        two.sendall(b"GET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: site.lane("read").busy == 2)
        assert site.get("/").body == b"/"
