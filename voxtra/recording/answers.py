"""What an HTTP answer says of trying again."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable

AGAIN = (408, 425, 429)
"""Refusals that are none for ever."""


def retry_after_s(value: str, now: Callable[[], float] = time.time) -> float | None:
    """``Retry-After`` as seconds from now: a number, or an HTTP date (RFC 9110, 10.2.3); None when it is neither."""
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now())
    except (ValueError, OverflowError):
        return None
