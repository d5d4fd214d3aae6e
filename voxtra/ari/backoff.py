"""How long to wait before the next try."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Doubling waits between a floor and a cap, with jitter so that many clients don't come at once.

    Args:
        floor_s: first wait, s.
        cap_s: longest wait, s.
        chance: gives numbers in 0..1, for tests.
    """

    def __init__(self, floor_s: float, cap_s: float, chance: Callable[[], float] = random.random) -> None:
        self._floor_s = floor_s
        self._cap_s = cap_s
        self._chance = chance
        self.tries = 0

    def next_s(self) -> float:
        """The next wait in s: between half and all of the current step."""
        step = min(self._cap_s, self._floor_s * 2.0 ** min(self.tries, 30))
        self.tries += 1
        return step * (0.5 + 0.5 * self._chance())

    def reset(self) -> None:
        """Begin anew with the floor."""
        self.tries = 0
