"""Short requests while the engine is busy or hangs: how late is their answer?

The client is in Python: a keep-alive connection for each path, whose requests are due every 20 ms whether or not
the one before has been answered; a request's time counts from when it was due, so a server that stands still for
two seconds is late for a hundred requests and not for one. Slow calls have connections of their own.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import math
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from bench import Server, arguments, finish, kinds, serving, table

PATHS = ("/healthz", "/metrics", "/freeze/status", "/threads")
SLOW = ("DELETE /cache/clear", "PUT /freeze/enable", "PUT /freeze/disable", "PUT /hot_cache/enable")
EVERY = 0.02  # seconds between two requests of a path
GRACE = 3.0  # seconds that late answers are waited for
THREADS = 18  # those of our lanes: 2 light, 8 read, 4 change, 4 job


@dataclass(frozen=True)
class Case:
    """What the engine is doing.

    Args:
        name: As the table has it.
        calls: Slow calls in flight.
        window: Seconds during which requests are due.
        given: For `served.py`.
    """

    name: str
    calls: int
    window: float
    given: dict[str, str] = field(default_factory=dict)


CASES = (
    Case("nothing", 0, 2.0, {"clear": "2"}),
    Case("one clear of 2 s", 1, 1.8, {"clear": "2"}),
    Case(f"{THREADS} calls of 2 s", THREADS, 1.8, {"clear": "2"}),
    Case(f"{2 * THREADS} calls of 2 s", 2 * THREADS, 1.8, {"clear": "2"}),
    Case("64 calls that hang", 64, 4.0, {"clear": "-1"}),
    Case("is_frozen() hangs", 0, 7.0, {"frozen": "hang", "first": "/version"}),
)


@dataclass
class Probe:
    """One path's requests and their times in ms; `cut` were not answered, their time is what they had waited."""

    path: str
    times: list[float] = field(default_factory=list)
    cut: list[float] = field(default_factory=list)
    statuses: collections.Counter[str] = field(default_factory=collections.Counter)
    late: list[float] = field(default_factory=list)  # how late the client itself was, ms; contained in `times`

    def run(self, port: int, begin: float, window: float) -> None:
        """Send what is due between `begin` and the end of the window."""
        due = [begin + n * EVERY for n in range(int(window / EVERY))]
        connection = None
        for number, at in enumerate(due):
            if (left := at - time.monotonic()) > 0:
                time.sleep(left)
                self.late.append((time.monotonic() - at) * 1000)
            try:
                connection = connection or connect(port)
                status, kept = ask(connection, "GET", self.path, begin + window + GRACE)
            except TimeoutError:
                self.cut += [(begin + window + GRACE - later) * 1000 for later in due[number:]]
                return
            self.times.append((time.monotonic() - at) * 1000)
            self.statuses[status] += 1
            if not kept:
                connection.close()
                connection = None

    def p(self, share: float) -> str:
        """A percentile in ms; with `>` if that request was not answered."""
        found = sorted([(value, False) for value in self.times] + [(value, True) for value in self.cut])
        value, cut = found[max(0, math.ceil(len(found) * share) - 1)]
        return f"{'>' if cut else ''}{value:,.0f}" if value >= 100 else f"{value:.1f}"


def connect(port: int) -> socket.socket:
    """A connection that sends at once."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def ask(connection: socket.socket, method: str, path: str, until: float) -> tuple[str, bool]:
    """Send a request and read its whole answer.

    Returns:
        The status, and whether the connection stays open.

    Raises:
        TimeoutError: No answer by `until`.
    """
    connection.settimeout(max(0.001, until - time.monotonic()))
    connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    data = b""
    while b"\r\n\r\n" not in data:
        data += _part(connection, until)
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    while len(body) < int(headers["content-length"]):
        body += _part(connection, until)
    return lines[0].split()[1], headers.get("connection") != "close"


def _part(connection: socket.socket, until: float) -> bytes:
    connection.settimeout(max(0.001, until - time.monotonic()))
    part = connection.recv(65536)
    if not part:
        raise ConnectionError("the server closed the connection")
    return part


def call_slowly(port: int, number: int, until: float, answers: collections.Counter[str]) -> None:
    """Make one slow call and count how it ended."""
    method, path = SLOW[number % len(SLOW)].split()
    with contextlib.closing(connect(port)) as connection:
        try:
            status, _ = ask(connection, method, path, until)
        except (TimeoutError, ConnectionError):
            status = "in flight"
    answers[status] += 1


def measure(server: Server, case: Case, probes: list[Probe], answers: collections.Counter[str]) -> None:
    """Run one case once; its figures are added to `probes` and `answers`."""
    until = time.monotonic() + case.window + GRACE + 1.0
    arguments_of = [(server.port, number, until, answers) for number in range(case.calls)]
    slow = [threading.Thread(target=call_slowly, args=args) for args in arguments_of]
    for thread in slow:
        thread.start()
    begin = time.monotonic() + 0.1  # they are in the engine by then
    order = enumerate(probes)
    busy = [threading.Thread(target=p.run, args=(server.port, begin + n * EVERY / 4, case.window)) for n, p in order]
    for thread in busy:
        thread.start()
    for thread in [*busy, *slow]:
        thread.join()


def run_case(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """All rounds of one case, the servers in turn; a server on which calls hang serves one round."""
    found: dict[str, Any] = {}
    for _ in range(options.rounds):
        for kind in kinds(options, "ours", "peer"):
            probes, answers = found.setdefault(kind, ([Probe(path) for path in PATHS], collections.Counter()))
            with serving(kind, options, **case.given) as server:
                measure(server, case, probes, answers)
    return found


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, rounds=3, only="")
    rows: list[list[object]] = []
    results = []
    for case in (case for case in CASES if options.only in case.name):
        for kind, (probes, answers) in run_case(case, options).items():
            late = sorted(value for probe in probes for value in probe.late)
            ended = ", ".join(f"{count} {status}" for status, count in sorted(answers.items()))
            rows.append([case.name, kind, *(_shown(probe) for probe in probes), late[int(len(late) * 0.99)], ended])
            results += [
                {"case": case.name, "server": kind, "path": p.path, "p50": p.p(0.5), "p99": p.p(0.99), "max": p.p(1),
                 "answered": len(p.times), "unanswered": len(p.cut), "statuses": dict(p.statuses),
                 "slow_calls": dict(answers)}
                for p in probes
            ]  # fmt: skip
    head = [
        "the engine has",
        "server",
        *(f"{path} p99 ms" for path in PATHS),
        "client late p99 ms",
        "how the slow calls ended",
    ]
    finish(options, "blocked", results, table(head, rows))


def _shown(probe: Probe) -> str:
    other = ", ".join(f"{count} x {status}" for status, count in probe.statuses.items() if status != "200")
    return probe.p(0.99) + (f" ({other})" if other else "")


if __name__ == "__main__":
    main()
