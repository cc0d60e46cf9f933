"""A worker in a process of its own, which says `ready` and serves lookups until it is killed; the test runs it.

Arguments: folder of the sockets, folder of the chunks, tokens to store.
"""

from __future__ import annotations

import signal
import sys

from lmcache_admin.engine import Configuration, Manager

values = {
    "chunk_size": 16,
    "max_local_cpu_size": 0.05,
    "lmcache_instance_id": "test",
    "local_disk": sys.argv[2],
    "max_local_disk_size": 1.0,
    "extra_config": {"embedded_engine_lookup_folder": sys.argv[1]},
}
manager = Manager(Configuration.from_mapping(values, {}))
manager.start()
assert manager.lmcache_engine is not None
manager.lmcache_engine.store(tokens=list(range(int(sys.argv[3]))))
sys.stdout.write("ready\n")
sys.stdout.flush()
signal.pause()
