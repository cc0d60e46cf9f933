"""The window in vLLM between the start of the server and the engine's post-init; imported by lmcache_scenarios.py."""

from __future__ import annotations

import http.client
import json
from typing import Any

REQUESTS = (
    "GET /healthz",
    "GET /version",
    "GET /conf?names=chunk_size",
    "GET /cache/kvcache/info",
    "DELETE /cache/clear",
    "POST /cache/store?tokens_mock=0,32",
    "POST /cache/retrieve?tokens_mock=0,32",
    "GET /backends",
    "POST /backends",
    "GET /bypass/list",
    "GET /freeze/status",
    "PUT /freeze/enable",
    "GET /hot_cache/status",
    "PUT /hot_cache/disable",
)


def window_facts(starter: Any) -> dict[str, Any]:
    """Statuses and messages before and after post-init, of an engine that `starter` has built and not started."""
    manager = starter._manager
    manager.api_server.start()
    before = {line: ask(manager.api_server.port, line) for line in REQUESTS}
    starter.start()  # starts the server a second time, as it is
    try:
        frozen = manager.lmcache_engine.is_frozen()
        after = {line: ask(manager.api_server.port, line) for line in REQUESTS}
    finally:
        starter.stop()
    return {"before": before, "after": after, "frozen": frozen}


def ask(port: int, line: str) -> list[Any]:
    """The status and the message of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(*line.split())
        response = connection.getresponse()
        value = json.loads(response.read())
        return [response.status, value.get("message") if isinstance(value, dict) else None]
    finally:
        connection.close()
