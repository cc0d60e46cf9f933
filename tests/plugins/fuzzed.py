"""How long hypothesis looks: at the same examples in every run, or at LMCACHE_ADMIN_FUZZ_EXAMPLES new ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, settings

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

_EXAMPLES = os.environ.get("LMCACHE_ADMIN_FUZZ_EXAMPLES")

#: Decorator of a test that `given` feeds. Its fixtures may serve many examples: each writes what it reads.
fuzzed = settings(
    max_examples=int(_EXAMPLES or 100),
    derandomize=_EXAMPLES is None,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def tried(read: Callable[[], T], refusal: type[E]) -> tuple[T | None, E | None]:
    """What `read` returns, or how it refuses; anything else that it raises is a find."""
    try:
        return read(), None
    except refusal as error:
        return None, error
