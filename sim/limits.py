"""Order rate of a key: a token bucket, and a ban for one that does not stop. Integer arithmetic, microseconds."""

from __future__ import annotations

from dataclasses import dataclass

_TOKEN = 1_000_000


@dataclass(slots=True)
class _Bucket:
    tokens: int
    filled_us: int
    excess: int = 0
    banned_until_us: int = 0


class RateLimit:
    """`per_s` order messages a second with a `burst`; `ban_after` refusals before the bucket is full again bring `ban_us`."""

    def __init__(self, per_s: int = 300, burst: int = 300, ban_after: int = 300, ban_us: int = 5_000_000) -> None:
        self._per_s, self._burst, self._ban_after, self._ban_us = per_s, burst, ban_after, ban_us
        self._buckets: dict[str, _Bucket] = {}
        self.refused = 0
        self.bans = 0

    def admit(self, who: str, now_us: int) -> bool:
        """Take a token; False, and counted, when there is none or `who` is banned."""
        bucket = self._buckets.setdefault(who, _Bucket(self._burst * _TOKEN, now_us))
        gained = max(now_us - bucket.filled_us, 0) * self._per_s
        bucket.tokens = min(bucket.tokens + gained, self._burst * _TOKEN)
        bucket.filled_us = max(now_us, bucket.filled_us)
        if bucket.tokens == self._burst * _TOKEN:
            bucket.excess = 0
        if bucket.tokens >= _TOKEN and now_us >= bucket.banned_until_us:
            bucket.tokens -= _TOKEN
            return True
        self.refused += 1
        bucket.excess += 1
        if bucket.excess >= self._ban_after:
            bucket.excess = 0
            bucket.banned_until_us = now_us + self._ban_us
            self.bans += 1
        return False
