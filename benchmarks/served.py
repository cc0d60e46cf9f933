"""The measured process: one server on one host object; `python served.py ours|peer|waitress PORT [key=value ...]`.

Runs in the interpreter of whichever server it starts, so it needs the standard library only. It prints one JSON
line when the first request has been answered, and ends when its standard input closes.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import threading
import time
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

FIRST = "/freeze/status"


class Config:
    """The keys that both servers read."""

    def __init__(self, port: int) -> None:
        self.internal_api_server_enabled = True
        self.internal_api_server_host = "127.0.0.1"
        self.internal_api_server_port_start = port - 1  # worker 0 serves on the next one
        self.internal_api_server_include_index_list: list[int] | None = None
        self.internal_api_server_socket_path_prefix: str | None = None
        self.script_allowed_imports: list[str] = []
        self.run_script_api_enabled = False
        self.extra_config: dict[str, Any] = {}

    def get_extra_config_value(self, key: str, default: Any = None) -> Any:
        return self.extra_config.get(key, default)


class Storage:
    """A storage manager without backends."""

    def list_backends(self) -> dict[str, str]:
        return {}

    def get_all_backend_names(self) -> list[str]:
        return []

    def get_bypassed_backends(self) -> list[str]:
        return []


@dataclass
class Metadata:
    """What a worker is called."""

    worker_id: int = 0
    role: str = "worker"
    model_name: str = "benchmark"
    world_size: int = 1


class Engine:
    """An engine whose slow calls take as long as the benchmark says.

    Args:
        config: Shared with the manager.
        clear_seconds: How long `clear` and `freeze` take; negative: for good.
        frozen_hangs: Whether `is_frozen` never returns.
    """

    def __init__(self, config: Config, clear_seconds: float, frozen_hangs: bool) -> None:
        self.config = config
        self.metadata = Metadata()
        self.storage_manager = Storage()
        self.gpu_connector = None
        self.kvcache_check_log_enabled = False
        self._clear_seconds = clear_seconds
        self._frozen_hangs = frozen_hangs
        self._lock = threading.RLock()  # 0.5.6's is_frozen takes one, too

    def is_frozen(self) -> bool:
        if self._frozen_hangs:
            threading.Event().wait()
        with self._lock:
            return False

    def freeze(self, enabled: bool) -> None:
        self._last()

    def set_hot_cache(self, enabled: bool) -> None:
        self._last()

    def is_hot_cache_enabled(self) -> bool:
        return True

    def is_healthy(self) -> bool:
        return True

    def clear(self, tokens: Any = None, locations: Any = None, request_configs: Any = None) -> int:
        self._last()
        return 0

    def _last(self) -> None:
        if self._clear_seconds < 0:
            threading.Event().wait()
        time.sleep(self._clear_seconds)


class Manager:
    """What both servers are given."""

    def __init__(self, port: int, clear_seconds: float = 0.0, frozen_hangs: bool = False) -> None:
        self.config = Config(port)
        self.lmcache_engine = Engine(self.config, clear_seconds, frozen_hangs)
        self.lmcache_engine_metadata = self.lmcache_engine.metadata
        self.kv_caches: dict[str, Any] = {}

    def get_inference_info(self) -> dict[str, Any]:
        return {}


@dataclass
class WorkerInfo:
    """A worker as a controller lists it."""

    instance_id: str
    worker_id: int
    ip: str
    port: int
    peer_init_url: str | None
    registration_time: float
    last_heartbeat_time: float


@dataclass
class Worker(WorkerInfo):
    """A worker and its keys, counted under a lock as LMCache's registry does."""

    keys: dict[str, set[int]] = field(default_factory=dict)
    lock: Any = field(default_factory=threading.Lock)

    def get_kv_count(self) -> int:
        with self.lock:
            return sum(len(keys) for keys in self.keys.values())

    def to_worker_info(self, instance_id: str) -> WorkerInfo:
        return WorkerInfo(
            instance_id,
            self.worker_id,
            self.ip,
            self.port,
            self.peer_init_url,
            self.registration_time,
            self.last_heartbeat_time,
        )


@dataclass
class Instance:
    """The workers of one instance."""

    instance_id: str
    workers: dict[int, Worker]


class Registry:
    """A controller's registry of `count` workers, eight to an instance."""

    def __init__(self, count: int) -> None:
        self.instances: dict[str, Instance] = {}
        for first in range(0, count, 8):
            name = f"instance-{first // 8:05}"
            workers = {n: _worker(name, first // 8, n) for n in range(min(8, count - first))}
            self.instances[name] = Instance(name, workers)
        self.reg_controller = self.registry = self  # a controller manager and its registry in one

    def get_instance(self, instance_id: str) -> Instance | None:
        return self.instances.get(instance_id)

    def get_worker(self, instance_id: str, worker_id: int) -> Worker | None:
        node = self.instances.get(instance_id)
        return node.workers.get(worker_id) if node else None

    def get_all_worker_infos_cached(self) -> list[WorkerInfo]:
        return [w.to_worker_info(name) for name, node in self.instances.items() for w in node.workers.values()]

    def get_total_kv_count(self) -> int:
        return sum(w.get_kv_count() for node in self.instances.values() for w in node.workers.values())


def _worker(name: str, number: int, worker_id: int) -> Worker:
    ip, url = f"10.0.{number // 250}.{number % 250}", f"10.0.0.1:{9000 + worker_id}"
    return Worker(name, worker_id, ip, 8000 + worker_id, url, 1.7e9, 1.7e9, {"LocalCPUBackend": set(range(8))})


def start_ours(manager: Manager, port: int, registry: Registry | None) -> None:
    """Start lmcache-admin on the manager."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from lmcache_admin import InternalAPIServer

    server = InternalAPIServer(manager)
    if registry:
        server.attach_controller(registry)
    server.start()
    if server.error:
        raise SystemExit(server.error)


def start_peer(manager: Manager, port: int, registry: Registry | None) -> None:
    """Start LMCache's own server on the manager."""
    from lmcache.v1.internal_api_server.api_server import InternalAPIServer

    server = InternalAPIServer(manager)
    if registry:
        server.app.state.lmcache_controller_manager = registry
    server.start()


def start_waitress(manager: Manager, port: int, registry: Registry | None) -> None:
    """Start waitress alone: the most that a server on it can reach. As it comes: four threads."""
    import logging

    import waitress.server

    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a warning for each queued request costs the most
    body = json.dumps({"status": "success", "freeze": False, "message": "Freeze mode is disabled"}, indent=2).encode()

    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    server = waitress.server.create_server(application, host="127.0.0.1", port=port, asyncore_use_poll=True)
    threading.Thread(target=server.run, daemon=True).start()


def load_host() -> None:
    """Load LMCache's engine and with it torch; not its manager, which imports LMCache's server."""
    import lmcache.observability
    import lmcache.v1.cache_engine  # noqa: F401


def first_answer(port: int, path: str) -> None:
    """Ask until there is an answer."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", path)
            connection.getresponse().read()
            return
        except OSError:
            time.sleep(0.002)
        finally:
            connection.close()
    raise SystemExit("no answer within 60 s")


def resident() -> float:
    """This process's resident memory, MB."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def add_series(count: int) -> None:
    """Register counters with labels as LMCache's are, `count` series in all."""
    from prometheus_client import Counter

    for family in range(count // 10):
        labels = ["model_name", "worker_id"]
        counter = Counter(f"lmcache:benchmark_{family}", f"Counter {family} of the benchmark.", labels)
        for worker in range(10):
            counter.labels("meta-llama/Llama-3.1-8B-Instruct", str(worker)).inc(worker + family / 7)


def main() -> None:
    """Start what the arguments say."""
    kind, port = sys.argv[1], int(sys.argv[2])
    given = dict(argument.split("=", 1) for argument in sys.argv[3:])
    manager = Manager(port, float(given.get("clear", "0")), given.get("frozen") == "hang")
    registry = Registry(int(given["workers"])) if "workers" in given else None
    if "loaded" in given:
        load_host()
    if "series" in given:
        add_series(int(given["series"]))
    if "kv" in given:
        manager.kv_caches = import_module("tensors").kv_caches(given["kv"])
    before, began = resident(), time.monotonic()
    {"ours": start_ours, "peer": start_peer, "waitress": start_waitress}[kind](manager, port, registry)
    first_answer(port, given.get("first", FIRST))
    report = {"seconds": time.monotonic() - began, "before": before, "after": resident()}
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)  # calls that hang for good would keep the process


if __name__ == "__main__":
    main()
