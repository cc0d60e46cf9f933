"""A test aid: reports fewer hits than there are, so that a scheduler computes a known share anew."""

from __future__ import annotations

from typing import Any

from lmcache_admin.engine.lookup.protocol import Client, HashedTokens, RequestConfigs


class HitLimitLookupClient:
    """Caps what a lookup finds at `1 - hit_miss_ratio` of the prompt, in whole chunks.

    Args:
        actual_lookup_client: Who is asked.
        miss_ratio: Share of each prompt that is to miss, 0 to 1.
    """

    def __init__(self, actual_lookup_client: Client, miss_ratio: float) -> None:
        self.actual_lookup_client = actual_lookup_client
        self._miss_ratio = miss_ratio

    def lookup(self, token_ids: Any, lookup_id: str, request_configs: RequestConfigs = None) -> int:
        """Tokens found, capped."""
        return self.lookup_hashed(self.hashed(token_ids), lookup_id, request_configs)

    def lookup_hashed(self, prompt: HashedTokens, lookup_id: str, request_configs: RequestConfigs = None) -> int:
        """As `lookup`, of tokens that are hashed already."""
        found = self.actual_lookup_client.lookup_hashed(prompt, lookup_id, request_configs)
        most = prompt.tokens * (1 - self._miss_ratio)
        return found if found <= most else int(most) // prompt.chunk_size * prompt.chunk_size

    def hashed(self, token_ids: Any) -> HashedTokens:
        """The prompt's hashes."""
        return self.actual_lookup_client.hashed(token_ids)

    def lookup_cache(self, lookup_id: str) -> int:
        """What the last lookup of that id found, uncapped; -1 if there was none."""
        return self.actual_lookup_client.lookup_cache(lookup_id)

    def clear_lookup_status(self, lookup_id: str) -> None:
        """Forget what a lookup found."""
        self.actual_lookup_client.clear_lookup_status(lookup_id)

    def supports_producer_reuse(self) -> bool:
        """Whether a producer may use stored prefixes too."""
        return self.actual_lookup_client.supports_producer_reuse()

    def close(self) -> None:
        """Close the client that is asked."""
        self.actual_lookup_client.close()
