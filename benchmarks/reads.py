"""What a page reads, from a real LMCache engine with its full configuration: ours beside LMCache's own server.

`/healthz` is the measure of what needs no call on the host; the others need one, or render hundreds of values.
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict

from bench import Load, arguments, finish, kinds, median_of, table, wrk
from standalone import ask, engine

PATHS = (
    "/healthz",
    "/version",
    "/lmc_version",
    "/commit_id",
    "/conf",
    "/conf?names=chunk_size,local_cpu",
    "/meta",
    "/inference_info",
    "/freeze/status",
    "/hot_cache/status",
    "/bypass/list",
    "/backends",
    "/lookup/info",
    "/cache/kvcache/info",
)


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, rounds=5, seconds=2.0, connections=8, only="")
    found: dict[tuple[str, str], list[Load]] = {}
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(engine(kind, options)) for kind in kinds(options, "ours", "peer")]
        for number in range(options.rounds):
            for path in PATHS:
                if options.only in path:
                    for server in servers[:: 1 if number % 2 else -1]:
                        if ask(server, "GET", path).status == 200:
                            load = wrk(server, path, options.connections, options.seconds)
                            found.setdefault((path, server.kind), []).append(load)
    medians = {key: median_of(loads) for key, loads in found.items()}
    results = [{"path": path, "server": kind, **asdict(load)} for (path, kind), load in medians.items()]
    head = ["request", "ours req/s", "peer req/s", "ours / peer", "ours / our healthz", "ours p99 ms", "peer p99 ms"]
    rows = [_row(path, medians) for path in PATHS if (path, "ours") in medians]
    finish(options, "reads", results, table([*head, "ours CPU us", "peer CPU us", "errors"], rows))


def _row(path: str, medians: dict[tuple[str, str], Load]) -> list[object]:
    ours, peer, alive = medians[path, "ours"], medians.get((path, "peer")), medians.get(("/healthz", "ours"))
    share = f"{ours.rate / alive.rate:.2f}" if alive else None
    if peer is None:
        return [f"GET {path}", ours.rate, None, None, share, ours.p99, None, ours.cpu, None, ours.errors]
    ratio = f"{ours.rate / peer.rate:.2f}"
    errors = ours.errors + peer.errors
    return [f"GET {path}", ours.rate, peer.rate, ratio, share, ours.p99, peer.p99, ours.cpu, peer.cpu, errors]


if __name__ == "__main__":
    main()
