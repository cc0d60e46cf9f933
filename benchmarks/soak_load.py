"""The load of the soak: what is asked, how often, what may be answered, and what was."""

from __future__ import annotations

import collections
import http.client
import itertools
import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

JSON = {"Content-Type": "application/json"}
ASYNC = {"Prefer": "respond-async"}
KEPT = 250  # requests of a connection before the client opens another
TIMEOUT = 120.0  # seconds; far above every deadline of the server
TOKENS = 6144  # tokens that a slow call stores or looks for
BEHIND = 1.0  # seconds that a limiter lets its callers catch up


@dataclass(frozen=True)
class Ask:
    """One request and the statuses that it may have; `{n}` in path and body is a number that counts up,
    `{end}` one that is larger by `TOKENS`."""

    method: str
    path: str
    expected: tuple[int, ...] = (200,)
    body: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Method and path without query."""
        return f"{self.method} {self.path.partition('?')[0]}"


@dataclass(frozen=True)
class Kind:
    """A kind of request: its share of the whole rate, how many callers, what they ask in turn."""

    name: str
    share: float
    callers: int
    asks: Sequence[Ask]


READS = (
    "/freeze/status", "/version", "/conf?names=chunk_size,min_retrieve_tokens", "/meta", "/backends", "/bypass/list",
    "/hot_cache/status", "/lookup/info", "/inference_info", "/cache/kvcache/info", "/jobs?limit=20", "/threads",
    "/cache/kvcache/check?slot_mapping=[0,255]&chunk_size=64", "/env", "/conf", "/periodic-threads", "/blueprints",
    "/lmc_version", "/session", "/loglevel", "/openapi.json", "/commit_id",
)  # fmt: skip
CHANGES = (
    Ask("PUT", "/freeze/enable"),
    Ask("PUT", "/freeze/disable"),
    Ask("PUT", "/bypass/add?backend_name=LocalDiskBackend"),
    Ask("PUT", "/bypass/remove?backend_name=LocalDiskBackend"),
    Ask("POST", "/conf", body='{{"min_retrieve_tokens": {n}}}', headers=JSON),
    Ask("POST", "/loglevel?logger_name=soak&level=ERROR"),
    Ask("POST", "/cache/kvcache/record_slot?enabled=true"),
    Ask("PUT", "/hot_cache/enable"),
    Ask("POST", "/lookup/recreate"),
)
REFUSED = (
    Ask("GET", "/nowhere/{n}", (404,)),
    Ask("POST", "/conf", (400,), "{{broken", JSON),
    Ask("DELETE", "/backends/none-{n}", (404,)),
    Ask("POST", "/cache/store?tokens_mock=0,2000000000", (400,)),
    Ask("GET", "/cache/kvcache/check?slot_mapping=[1,2", (400,)),
    Ask("POST", "/version", (405,)),
    Ask("GET", "/jobs/none-{n}", (404,)),
    Ask("GET", "/audit", (403,)),  # over TCP nobody is admin
)
SLOW = (
    Ask("POST", "/cache/store?tokens_mock={n},{end}"),
    Ask("POST", "/cache/retrieve?tokens_mock={n},{end}"),
    Ask("GET", "/cache/kvcache/check?slot_mapping=[0,1023]&chunk_size=16", (202,), headers=ASYNC),
    Ask("POST", "/cache/retrieve?tokens_mock=0,32768"),
    Ask("POST", "/cache/store?tokens_mock=0,32768"),
    Ask("DELETE", "/cache/clear?locations=LocalCPUBackend"),
    Ask("DELETE", "/cache/clear", (202,), headers=ASYNC),
)
KINDS = (
    Kind("read", 0.80, 4, [Ask("GET", path) for path in READS]),
    Kind("change", 0.11, 2, CHANGES),
    Kind("refused", 0.04, 1, REFUSED),
    Kind("probe", 0.03, 1, [Ask("GET", "/healthz"), Ask("GET", "/readyz")]),
    Kind("scrape", 0.01, 1, [Ask("GET", "/metrics")]),
    Kind("slow", 0.01, 2, SLOW),
)


class Limiter:
    """Lets its callers through at a rate, evenly; a second's worth of what they missed is made up for, no more."""

    def __init__(self, rate: float) -> None:
        self._every = 1 / rate
        self._next = time.monotonic()
        self._lock = threading.Lock()

    def wait(self, end: threading.Event) -> bool:
        """Wait for the next turn; False when the end came first."""
        with self._lock:
            due = self._next = max(self._next, time.monotonic() - BEHIND)
            self._next += self._every
        return not end.wait(max(0.0, due - time.monotonic()))


@dataclass
class Seen:
    """What all callers saw: counts by route and status, milliseconds by kind, and what nobody asked for."""

    counts: collections.Counter[tuple[str, int]] = field(default_factory=collections.Counter)
    times: dict[str, list[float]] = field(default_factory=lambda: collections.defaultdict(list))
    unasked: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, kind: str, ask: Ask, status: int, milliseconds: float, body: bytes) -> None:
        """Count one answer."""
        with self.lock:
            self.counts[ask.name.replace("{n}", "N"), status] += 1
            self.times[kind].append(milliseconds)
            if status not in ask.expected:
                self.unasked.append(f"{ask.method} {ask.path}: {status}, not {ask.expected}, {body[:300]!r}")

    def broke(self, ask: Ask, error: Exception) -> None:
        """Count a request that was not answered."""
        with self.lock:
            self.unasked.append(f"{ask.method} {ask.path}: {error!r}")


class Caller(threading.Thread):
    """Asks what its kind asks, in turn, on a connection that is opened anew now and then.

    Args:
        port: The worker's.
        kind: What it asks.
        first: Where in the turn it begins.
        limiter: Shared by all callers of the kind.
        seen: Shared by all callers.
        end: Set when the load is over.
    """

    def __init__(self, port: int, kind: Kind, first: int, limiter: Limiter, seen: Seen, end: threading.Event) -> None:
        super().__init__(name=f"soak-{kind.name}-{first}", daemon=True)
        self._port, self._kind, self._limiter, self._seen, self._end = port, kind, limiter, seen, end
        self._numbers = itertools.count(first * 1000)
        self._turn: Iterator[Ask] = itertools.islice(itertools.cycle(kind.asks), first * len(kind.asks) // 2, None)
        self._connection: http.client.HTTPConnection | None = None
        self._used = 0

    def run(self) -> None:
        """Ask until the end."""
        while self._limiter.wait(self._end):
            ask = next(self._turn)
            status, body = self._send(ask)
            if status == 202:
                self._follow(json.loads(body)["id"])
        self._close()

    def _follow(self, job: str) -> None:
        """Ask what became of a job, and for its end every fourth time; it may have ended before."""
        if next(self._numbers) % 4 == 0:
            self._send(Ask("POST", f"/jobs/{job}/cancel", (200, 409)), "POST /jobs/ID/cancel")
        for _ in range(1200):
            status, body = self._send(Ask("GET", f"/jobs/{job}"), "GET /jobs/ID")
            if status != 200 or json.loads(body)["state"] not in ("queued", "running"):
                return
            time.sleep(0.1)

    def _send(self, ask: Ask, name: str = "") -> tuple[int, bytes]:
        number = next(self._numbers) % 10_000
        path, body = (text and text.format(n=number, end=number + TOKENS) for text in (ask.path, ask.body))
        shown = Ask(*name.split(), ask.expected) if name else ask
        began = time.perf_counter()
        try:
            connection = self._connected()
            connection.request(ask.method, path or "", body, dict(ask.headers))
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._seen.broke(shown, error)
            self._close()
            return 0, b""
        self._seen.note(self._kind.name, shown, response.status, (time.perf_counter() - began) * 1000, answer)
        if response.will_close:
            self._close()
        return response.status, answer

    def _connected(self) -> http.client.HTTPConnection:
        self._used += 1
        if self._used % KEPT == 0:
            self._close()
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT)
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def start(port: int, rate: float, seen: Seen, end: threading.Event, kinds: Iterable[Kind] = KINDS) -> list[Caller]:
    """Start all callers.

    Args:
        port: The worker's.
        rate: Requests a second in all.
        seen: Where answers are counted.
        end: Ends them when it is set.
        kinds: What is asked.
    """
    callers = []
    for kind in kinds:
        limiter = Limiter(rate * kind.share)
        callers += [Caller(port, kind, number, limiter, seen, end) for number in range(kind.callers)]
    for caller in callers:
        caller.start()
    return callers
