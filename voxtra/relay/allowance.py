"""How many frames a publisher may send. No I/O, no clock of its own."""

from __future__ import annotations

RATE = 400.0
"""Frames a second in the long run: four times what live sound in the shortest frames needs."""
BURST = 3_000
"""Frames at once: half a minute of the shortest."""
CALL_RATE = 2 * RATE
"""Of all publishers on a call together: one that floods leaves room for another, thirty that do harm no other call."""
CALL_BURST = 2 * BURST


class Allowance:
    """A token bucket of frames: decoding them costs time that all calls share."""

    def __init__(self, now: float, *, rate: float = RATE, burst: int = BURST) -> None:
        self._rate = rate
        self._burst = burst
        self._left = float(burst)
        self._at = now

    def take(self, now: float) -> bool:
        """Whether a frame that comes at ``now`` (s) may be looked at."""
        self._left = min(float(self._burst), self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
