"""Is health answered, and are ordinary requests served, while somebody attacks? Ours beside LMCache's own server.

Both have the same host object and meet the same attack, which runs in a process of its own, for as long. The client is
in Python and asks from outside the attack: on each path a request is due every 50 ms (a scrape every 500 ms), each on a
new connection, whatever became of the one before; its time counts from when it was due, so a server that stands still
for two seconds is late for forty requests and not for one. A further server of ours, which nobody attacks, is asked in
the same seconds: what it takes is the machine's. At the end one connection of each slow kind shows how long it is kept.
"""

from __future__ import annotations

import argparse
import collections
import json
import math
import os
import resource
import select
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from abuse_attacks import GONE, HEADER, connect, request, say
from bench import HERE, Server, arguments, finish, kinds, serving, table
from blocked import ask

PATHS = {"/healthz": 0.05, "/freeze/status": 0.05, "/metrics": 0.5}  # seconds between two requests
SOON = 100.0  # ms within which health has to answer
GRACE = 3.0  # seconds that late answers are waited for
FILES_LEFT = 48  # descriptors that the host of "descriptors" leaves
DESCRIPTORS = 16384  # what both servers may open in the other cases
SERIES = {"series": "300"}
SLOW = ("slow headers", "slow bodies", "slow readers")


@dataclass(frozen=True)
class Case:
    """Attacks that run at once, and what `served.py` is told."""

    name: str
    attacks: tuple[str, ...]
    given: dict[str, str] = field(default_factory=dict)


CASES = (
    Case("nothing", (), SERIES),
    Case("200 headers, a byte a second", ("slow headers",), SERIES),
    Case("64 bodies, a byte a second", ("slow bodies",), SERIES),
    Case("64 x 20 scrapes that nobody reads", ("slow readers",), SERIES),
    Case("2,000 idle connections", ("idle",), SERIES),
    Case("200 ambiguous requests a second", ("smuggling",), SERIES),
    Case("50 deep or endless JSON bodies a second", ("deep JSON",), SERIES),
    Case("50 huge ranges a second", ("huge ranges",), SERIES),
    Case(f"400 connections, {FILES_LEFT} descriptors left", ("descriptors",), SERIES),
    Case("16 connections that pipeline", ("pipelining",), SERIES),
    Case("64 changes in flight that hang", ("hanging changes",), {**SERIES, "clear": "-1"}),
    Case("slow, idle and ambiguous at once", (*SLOW, "idle", "smuggling"), SERIES),
)


@dataclass
class Probe:
    """One path's requests: times in ms, infinite where no answer came."""

    path: str
    every: float
    times: list[float] = field(default_factory=list)
    statuses: collections.Counter[str] = field(default_factory=collections.Counter)
    late: list[float] = field(default_factory=list)  # how late the client itself was, ms; contained in `times`

    def run(self, port: int, begin: float, window: float) -> None:
        """Send what is due between `begin` and the end of the window."""
        until = begin + window + GRACE
        for at in [begin + n * self.every for n in range(int(window / self.every))]:
            if (left := at - time.monotonic()) > 0:
                time.sleep(left)
                self.late.append((time.monotonic() - at) * 1000)
            try:
                with connect(port) as connection:
                    status, _ = ask(connection, "GET", self.path, until)
            except OSError as error:  # cut, refused, too late, and all that are due after that
                self.statuses["no answer" if isinstance(error, TimeoutError) else type(error).__name__] += 1
                self.times.append(math.inf)
            else:
                self.statuses[status] += 1
                self.times.append((time.monotonic() - at) * 1000)

    def p(self, share: float) -> float:
        """A percentile in ms."""
        return sorted(self.times)[max(0, math.ceil(len(self.times) * share) - 1)]

    def within(self, milliseconds: float = math.inf) -> float:
        """The share that was answered, or so soon."""
        return sum(value <= milliseconds and value != math.inf for value in self.times) / len(self.times)


@dataclass
class Outcome:
    """All rounds of a case with one server."""

    probes: list[Probe] = field(default_factory=lambda: [Probe(path, every) for path, every in PATHS.items()])
    unattacked: Probe = field(default_factory=lambda: Probe("/healthz", PATHS["/healthz"]))
    attacks: dict[str, collections.Counter[str]] = field(default_factory=dict)
    added: list[float] = field(default_factory=list)  # MB that the server grew by


def resident(pid: int) -> float:
    """A process's resident memory, MB."""
    return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure(server: Server, unattacked: Server, case: Case, window: float, outcome: Outcome) -> None:
    """Run one case once."""
    before = resident(server.pid)
    if "descriptors" in case.attacks:
        _, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        limit = len(os.listdir(f"/proc/{server.pid}/fd")) + FILES_LEFT
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (limit, hard))
    command = [sys.executable, str(HERE / "abuse_attacks.py"), str(server.port), *case.attacks]
    attack = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        if attack.stdout is None or attack.stdout.readline() != b"ready\n":
            raise SystemExit("the attack did not begin; its message is above")
        begin = time.monotonic() + 0.1
        calls = [(probe, server.port, begin + n * 0.01) for n, probe in enumerate(outcome.probes)]
        calls.append((outcome.unattacked, unattacked.port, begin + 0.03))
        busy = [threading.Thread(target=probe.run, args=(port, at, window)) for probe, port, at in calls]
        for thread in busy:
            thread.start()
        for thread in busy:
            thread.join()
        outcome.added.append(resident(server.pid) - before)
        told = json.loads(attack.communicate()[0])
    finally:
        attack.kill()
        attack.wait()
    for name, tally in told.items():
        outcome.attacks.setdefault(name, collections.Counter()).update(tally)


def kept(port: int, seconds: float) -> dict[str, float]:
    """How long a connection of each slow kind is kept, in seconds; infinite when it is at the end."""
    body, answer = request("POST /conf", b"{", 4000), b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    kinds_of = {"header": (HEADER, b"a", 0), "body": (body, b" ", 0), "reader": (answer * 200, b"", 4096)}
    found, open_ones, poll, began = dict.fromkeys(kinds_of, math.inf), {}, select.poll(), time.monotonic()
    for kind, (opening, _, buffer) in kinds_of.items():
        connection = connect(port, buffer)
        say(connection, opening)
        poll.register(connection, GONE)
        open_ones[connection.fileno()] = (kind, connection)
    while open_ones and time.monotonic() < began + seconds:
        for number, _ in poll.poll(1000):
            kind, connection = open_ones.pop(number)
            found[kind] = time.monotonic() - began
            poll.unregister(number)
            connection.close()
        for kind, connection in open_ones.values():
            say(connection, kinds_of[kind][1])
    for _, connection in open_ones.values():
        connection.close()
    return found


def row(case: Case, kind: str, outcome: Outcome) -> list[object]:
    """One line of the table."""
    health, *others = outcome.probes
    late = sorted(value for probe in outcome.probes for value in probe.late) or [math.inf]
    ended = "; ".join(", ".join(f"{n} {what}" for what, n in sorted(t.items())) for t in outcome.attacks.values())
    odd = {status for probe in others for status in probe.statuses} - {"200"}
    served = [f"{probe.within():.0%}, {shown(probe.p(0.99))}" for probe in others]
    figures = [shown(health.p(share)) for share in (0.5, 0.99, 1)]
    machine = " / ".join(shown(outcome.unattacked.p(share)) for share in (0.5, 0.99, 1))
    ended += f" (probes: {', '.join(sorted(odd))})" if odd else ""
    tail = [machine, shown(late[int(len(late) * 0.99)]), max(outcome.added), ended]
    return [case.name, kind, *figures, f"{health.within(SOON):.1%}", *served, *tail]


def shown(milliseconds: float) -> str:
    """Milliseconds as the table has them."""
    if math.isinf(milliseconds):
        return "no answer"
    return f"{milliseconds:,.0f}" if milliseconds >= 100 else f"{milliseconds:.1f}"


def results(case: Case, kind: str, outcome: Outcome) -> dict[str, Any]:
    """One case and server for the file."""
    probes = [
        {
            "path": probe.path,
            **{name: shown(probe.p(share)) for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1))},
            "within_100_ms": probe.within(SOON),
            "answered": probe.within(),
            "statuses": dict(probe.statuses),
            "attacked": probe is not outcome.unattacked,
        }
        for probe in (*outcome.probes, outcome.unattacked)
    ]
    return {"case": case.name, "server": kind, "probes": probes, "attacks": outcome.attacks, "added_mb": outcome.added}


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, rounds=2, window=6.0, kept=45.0, only="")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, DESCRIPTORS), hard))
    with serving("ours", options) as unattacked:
        found = attacked(options, unattacked)
    times = cut_after(options)
    head = ["attack", "server", "/healthz p50 ms", "p99 ms", "max ms", "within 100 ms"]
    head += ["/freeze/status served, p99 ms", "/metrics served, p99 ms"]
    head += ["unattacked p50 / p99 / max ms", "client late p99 ms", "added MB", "the attack"]
    text = table(head, [row(*one) for one in found]) + "\n\n"
    cuts = [["> end" if math.isinf(s) else f"{s:.0f}" for s in of.values()] for of in times.values()]
    rows = [[kind, *cut] for kind, cut in zip(times, cuts, strict=True)]
    text += table(["server", "header kept s", "body kept s", "reader kept s"], rows)
    finish(options, "abuse", {"cases": [results(*one) for one in found], "kept": times}, text)


def attacked(options: argparse.Namespace, unattacked: Server) -> list[tuple[Case, str, Outcome]]:
    """All cases, the servers in turn in each round."""
    found = []
    for case in (case for case in CASES if options.only in case.name):
        outcomes = {kind: Outcome() for kind in kinds(options, "ours", "peer")}
        for _ in range(options.rounds):
            for kind, outcome in outcomes.items():
                with serving(kind, options, **case.given) as server:
                    measure(server, unattacked, case, options.window, outcome)
        found += [(case, kind, outcome) for kind, outcome in outcomes.items()]
        print(*("\t".join(map(str, row(*one))) for one in found[-len(outcomes) :]), sep="\n", file=sys.stderr)
    return found


def cut_after(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """How long each server keeps a slow connection."""
    times: dict[str, dict[str, float]] = {}
    for kind in kinds(options, "ours", "peer") if options.kept > 0 else ():
        with serving(kind, options, **SERIES) as server:
            times[kind] = kept(server.port, options.kept)
    return times


if __name__ == "__main__":
    main()
