"""How often logging in may fail: per name and address, and per address; a name alone is never locked (S8).

Of IPv6 a network of 64 bits counts as one address: whoever has one address there has all of them.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from ipaddress import IPv6Address, ip_address, ip_network

from cachetools import TTLCache

PER_PAIR, PER_ADDRESS, SECONDS = 5, 20, 60.0
_REMEMBERED = 10_000


class Attempts:
    """Counts failures of the last minute; bounded, in this process."""

    def __init__(self) -> None:
        self._failures: TTLCache[tuple[str, str], deque[float]] = TTLCache(_REMEMBERED, SECONDS, time.monotonic)
        self._lock = threading.Lock()

    def wait(self, name: str, address: str) -> int:
        """Seconds until the next try is allowed; 0: now."""
        now, address = time.monotonic(), _source(address)
        with self._lock:
            waits = [
                self._wait((name, address), PER_PAIR, now),
                self._wait(("", address), PER_ADDRESS, now),
            ]
        return max(waits)

    def fail(self, name: str, address: str) -> None:
        """Count a failure."""
        now, address = time.monotonic(), _source(address)
        with self._lock:
            for key, limit in (((name, address), PER_PAIR), (("", address), PER_ADDRESS)):
                times = self._failures.get(key) or deque(maxlen=limit)
                times.append(now)
                self._failures[key] = times

    def _wait(self, key: tuple[str, str], limit: int, now: float) -> int:
        times = self._failures.get(key)
        if times is None or len(times) < limit or now - times[0] >= SECONDS:
            return 0
        return int(SECONDS - (now - times[0])) + 1


def _source(address: str) -> str:
    """Who an address stands for."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    mapped = getattr(ip, "ipv4_mapped", None)
    if isinstance(ip, IPv6Address) and mapped is None:
        return str(ip_network((int(ip), 64), strict=False))
    return str(mapped or ip)
