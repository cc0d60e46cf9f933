"""What a lookup client offers, and the hashed tokens that one hands to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from lmcache_admin.engine.chunks import chunk_hashes

VERSION = 1  # of the messages between client and server
MAX_CHUNKS = 32_768  # of one lookup; a longer prompt is looked up as far as that

RequestConfigs = Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class HashedTokens:
    """A prompt as its chunks' chained hashes: what goes to the workers, and what statistics count.

    Args:
        hashes: One 64-bit hash per chunk.
        chunk_size: Tokens of each chunk but the last.
        last: Tokens of the last chunk.
        tokens: Tokens of the whole prompt, those outside any chunk included.
        tail: Hash of a last, shorter chunk that is not looked up; None where there is none.
    """

    hashes: list[int]
    chunk_size: int
    last: int
    tokens: int
    tail: int | None = None

    @property
    def counted(self) -> list[int]:
        """What statistics count: as in LMCache a shorter chunk too, whatever `save_unfull_chunk` says."""
        return self.hashes if self.tail is None else [*self.hashes, self.tail]

    @classmethod
    def of(cls, token_ids: Any, chunk_size: int, *, partial: bool) -> HashedTokens:
        """Hash a list, array or tensor of token ids; `partial` says whether a last, shorter chunk is looked up."""
        tokens: Sequence[int] = token_ids.tolist() if hasattr(token_ids, "tolist") else token_ids
        spans = list(islice(chunk_hashes(tokens, chunk_size, partial=True), MAX_CHUNKS))
        short = bool(spans) and spans[-1][1] - spans[-1][0] < chunk_size
        tail = spans.pop()[2] if short and not partial else None
        last = spans[-1][1] - spans[-1][0] if spans else 0
        return cls([chained for _, _, chained in spans], chunk_size, last, len(tokens), tail)


class Client(Protocol):
    """A lookup client, or a wrapper of one, which then has it as `actual_lookup_client`.

    The first five are LMCache's; the last two let a wrapper hash the tokens once for all of them.
    """

    def lookup(self, token_ids: Any, lookup_id: str, request_configs: RequestConfigs = None) -> int:
        """Tokens of the longest prefix that every worker has stored."""

    def lookup_cache(self, lookup_id: str) -> int:
        """What the last lookup of that id found, -1 if there was none."""

    def clear_lookup_status(self, lookup_id: str) -> None:
        """Forget what a lookup found."""

    def supports_producer_reuse(self) -> bool:
        """Whether a producer may use stored prefixes too."""

    def close(self) -> None:
        """Close the connections; may be called twice."""

    def hashed(self, token_ids: Any) -> HashedTokens:
        """The prompt's hashes, as this client would look them up."""

    def lookup_hashed(self, prompt: HashedTokens, lookup_id: str, request_configs: RequestConfigs = None) -> int:
        """As `lookup`, of tokens that are hashed already."""
