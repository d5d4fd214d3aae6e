"""What waits to be written to one subscriber: bounded, and the oldest goes first. No I/O."""

from __future__ import annotations

from collections import deque


class Outbox:
    """Messages for a subscriber who may be slow.

    Args:
        limit: messages that wait at most.
    """

    def __init__(self, limit: int) -> None:
        self._messages: deque[bytes] = deque()
        self._limit = limit

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: bytes) -> int:
        """One more; when that is one too many, the oldest is dropped. Returns how many were, 0 or 1."""
        dropped = len(self._messages) == self._limit
        if dropped:
            self._messages.popleft()  # late sound is not worth sending
        self._messages.append(message)
        return int(dropped)

    def take(self) -> bytes | None:
        """The next to be written, None when there is none."""
        return self._messages.popleft() if self._messages else None
