"""Rows of a controller's workers, always from its registry itself."""

from __future__ import annotations

from typing import Any

from lmcache_admin.errors import Detail
from lmcache_admin.host.protocols import Registry


def describe(registry: Registry, instance_id: str | None, worker_id: int | None) -> dict[str, Any]:
    """Return one worker's row, or `workers` and `total_count` of an instance or of all.

    Raises:
        Detail: 404, the worker or the instance is not registered.
    """
    if instance_id is None:
        rows = [row for name, node in list(registry.instances.items()) for row in _rows(name, node)]
        return {"workers": rows, "total_count": len(rows)}
    if worker_id is not None:
        worker = registry.get_worker(instance_id, worker_id)
        if worker is None:
            raise Detail(404, f"Worker ({instance_id}, {worker_id}) not found")
        return _row(instance_id, worker)
    node = registry.get_instance(instance_id)
    if node is None:
        raise Detail(404, f"No workers found for instance {instance_id}")
    rows = _rows(instance_id, node)
    return {"workers": rows, "total_count": len(rows)}


def _rows(instance_id: str, node: Any) -> list[dict[str, Any]]:
    return [_row(instance_id, worker) for worker in list(node.workers.values())]


def _row(instance_id: str, worker: Any) -> dict[str, Any]:
    return {
        "instance_id": instance_id,
        "worker_id": worker.worker_id,
        "ip": worker.ip,
        "port": worker.port,
        "peer_init_url": worker.peer_init_url,
        "registration_time": worker.registration_time,
        "last_heartbeat_time": worker.last_heartbeat_time,
        "key_count": worker.get_kv_count(),
    }
