"""How often somebody may ask: a token bucket each. No I/O."""

from __future__ import annotations

from collections import OrderedDict

MAX_ASKERS = 10_000
"""Askers that are remembered; who has not asked for longest is forgotten, and begins with a full bucket."""


class Buckets:
    """Token buckets by name.

    Args:
        rate: requests a second.
        burst_s: seconds' worth of requests that may come at once.
    """

    def __init__(self, rate: float, *, burst_s: float = 2.0) -> None:
        self._rate = rate
        self._size = max(1.0, rate * burst_s)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str, now: float) -> float:
        """Take one token. Returns 0, or the seconds until there is one.

        Args:
            now: monotonic seconds.
        """
        tokens, filled = self._buckets.pop(name, (self._size, now))
        tokens = min(self._size, tokens + (now - filled) * self._rate)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / self._rate
        self._buckets[name] = (tokens - 1 if not wait else tokens, now)
        if len(self._buckets) > MAX_ASKERS:
            self._buckets.popitem(last=False)
        return wait
