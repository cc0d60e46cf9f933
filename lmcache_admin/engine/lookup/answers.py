"""What a worker answers to one message: how many tokens it has, or why it cannot say."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from lmcache_admin.engine.chunks import TAG
from lmcache_admin.engine.lookup.protocol import MAX_CHUNKS, VERSION

logger = logging.getLogger(__name__)


class Lookups(Protocol):
    """What is asked of the engine."""

    @property
    def metadata(self) -> Any:
        """Facts about the engine, its `chunk_size` among them."""

    def lookup(
        self, *, hashes: Sequence[int], offsets: Sequence[int], request_configs: Mapping[str, Any] | None
    ) -> int:
        """Tokens of the longest stored prefix of chunks with these hashes and lengths."""


def answer(engine: Lookups, message: Mapping[str, Any]) -> dict[str, Any]:
    """Answer a message: `{"tokens": n}` or `{"error": why}`; never raises."""
    refused = _refusal(engine, message)
    if refused is not None:
        return {"error": refused}
    hashes: list[int] = message["hashes"]
    offsets = [message["chunk_size"]] * (len(hashes) - 1) + [message["last"]]
    tags = {f"{TAG}{name}": value for name, value in message.get("tags", {}).items()}
    try:
        return {"tokens": engine.lookup(hashes=hashes, offsets=offsets, request_configs=tags or None)}
    except Exception as error:  # one failed lookup is a miss, the next is answered
        logger.debug("A lookup failed", exc_info=True)
        return {"error": f"{type(error).__name__}: {error}"[:500]}


def _refusal(engine: Lookups, message: Mapping[str, Any]) -> str | None:
    if message.get("version") != VERSION:
        return f"messages of version {VERSION} are understood here"
    own = engine.metadata.chunk_size
    if message.get("chunk_size") != own:
        return f"chunk_size is {own} in this worker, another in the scheduler"
    hashes, last, tags = message.get("hashes"), message.get("last"), message.get("tags", {})
    if not isinstance(hashes, list) or not 1 <= len(hashes) <= MAX_CHUNKS or not all(map(_is_hash, hashes)):
        return f"hashes are 1 to {MAX_CHUNKS} whole numbers of 64 bit"
    if type(last) is not int or not 1 <= last <= own:
        return "the last chunk has 1 to chunk_size tokens"
    if not isinstance(tags, dict) or not all(isinstance(value, str) for value in tags.values()):
        return "tags are texts"
    return None


def _is_hash(value: object) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63
