"""Counting what a controller's registry holds."""

from __future__ import annotations

from typing import Any

from lmcache_admin.host.protocols import Registry


def count(registry: Registry) -> dict[str, Any]:
    """Return the totals and each instance's counts; a key on two workers counts twice."""
    instances = [
        {
            "instance_id": instance_id,
            "key_count": sum(worker.get_kv_count() for worker in list(node.workers.values())),
            "worker_count": len(node.workers),
        }
        for instance_id, node in list(registry.instances.items())
    ]
    return {
        "total_key_count": registry.get_total_kv_count(),
        "total_instance_count": len(instances),
        "total_worker_count": sum(instance["worker_count"] for instance in instances),
        "instances": instances,
    }
