"""What happened on one call, numbered and kept, for streams that begin in the middle."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any

from voxtra.events import EventType, VoxtraEvent
from voxtra.wire import CallEvent, EventName

MAX_EVENTS = 1000
"""Events that are kept of a call; the oldest go first. Readers that are further behind find a gap in ``seq``."""

KEPT_AFTER = 100
"""Events that are kept of a call that is over."""


class EventLog:
    """The events of one call.

    Args:
        sid: of the call.

    Attributes:
        last: ``seq`` of the newest, 0 when there is none.
        closed: whether there will be no more.
    """

    def __init__(self, sid: str) -> None:
        self._sid = sid
        self._events: deque[CallEvent] = deque(maxlen=MAX_EVENTS)
        self._changed = asyncio.Event()
        self.last = 0
        self.closed = False

    def add(self, name: EventName, data: dict[str, Any]) -> CallEvent:
        """Write one down."""
        self.last += 1
        event = CallEvent(name=name, sid=self._sid, seq=self.last, at=datetime.now(UTC), data=data)
        self._events.append(event)
        self._wake()
        return event

    def close(self) -> None:
        """There will be no more."""
        self.closed = True
        self._wake()

    def shorten(self) -> None:
        """The call has long ended: keep the newest ``KEPT_AFTER``."""
        while len(self._events) > KEPT_AFTER:
            self._events.popleft()

    def outline(self) -> None:
        """Many others have ended since: keep how the call went, and nothing of what was said."""
        self._events = deque((event for event in self._events if event.name == "status"), MAX_EVENTS)

    def since(self, seq: int) -> list[CallEvent]:
        """Those after ``seq``, as far as they are kept."""
        return [event for event in self._events if event.seq > seq]

    async def follow(self, seq: int) -> AsyncGenerator[CallEvent, None]:
        """Those after ``seq``, and those to come; ends with the call."""
        while True:
            changed = self._changed
            for event in self.since(seq):
                seq = event.seq
                yield event
            if self.closed and seq >= self.last:
                return
            await changed.wait()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def turn_event(event: VoxtraEvent) -> tuple[EventName, dict[str, Any]] | None:
    """What an event of a call is to its status stream; None for nothing."""
    data = event.data
    match event.type:
        case EventType.TURN_ENDED:
            speech_ms = data.get("started_ms_ago", 0) - data.get("ended_ms_ago", 0)
            known = {"text": data.get("text"), "silence_ms": data.get("silence_ms"), "why": data.get("why")}
            told = {"speech_ms": speech_ms, "interrupted": bool(data.get("interrupted"))}
            return "turn_committed", told | {
                name: value for name, value in known.items() if value is not None
            }
        case EventType.BARGE_IN:
            return "barge_in_confirmed", {}
        case EventType.USER_SPEECH_ENDED if data.get("dropped") not in (None, "stopped"):
            return "backchannel_dropped", {"reason": data["dropped"]}
        case _:
            return None
