"""Whether a request that failed may be sent again, and when."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Literal, TypeAlias

TRIES = 4
"""Attempts at one operation, the first included."""
_FLOOR_S = 0.2
_CAP_S = 3.0

Again: TypeAlias = Literal["safe", "unsent"]
"""``safe``: twice is as good as once (it reads, or has an idempotency key). ``unsent``: only when it surely was not
carried out."""
Failure: TypeAlias = Literal["unconnected", "broken", "answered"]
"""No connection was made; the connection broke under way; there was an answer, with a status."""


def wait_before_retry(
    tries: int,
    again: Again,
    failure: Failure,
    *,
    status: int = 0,
    retry_after_s: float | None = None,
    chance: Callable[[], float] = random.random,
) -> float | None:
    """Seconds to wait before the next try after ``tries`` of them; None = it has failed for good.

    An engine at its limits (429) has done nothing, so its Retry-After is followed; without one (a cap on calls at
    once) waiting won't help.
    """
    if tries >= TRIES:
        return None
    step = min(_CAP_S, _FLOOR_S * 2.0 ** (tries - 1)) * (0.5 + 0.5 * chance())
    if failure == "unconnected":
        return step
    if failure == "broken":
        return step if again == "safe" else None
    if status == 429:
        return None if retry_after_s is None else max(step, retry_after_s)
    if status in (502, 503, 504) and again == "safe":
        return max(step, retry_after_s or 0.0)
    return None
