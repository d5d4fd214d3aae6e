"""A call and a line without Asterisk, as far as the relay needs them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from voxtra.errors import CallEndedError, LineClosedError, MediaError
from voxtra.events import CallEndedEvent, EventType, VoxtraEvent
from voxtra.media.line import Frame, PlayObserver, Sink


class FakeLine:
    """Takes what is played, and hears it when told to."""

    def __init__(self, rate: int = 8000, *, limit_s: float = 600.0) -> None:
        self.rate = rate
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.played = bytearray()
        self.queued = 0
        self.heard = 0
        self.paused = False
        self.sinks: list[Sink] = []
        self.observers: list[PlayObserver] = []
        self._limit = limit_s * rate
        self._sequence = 0

    def listen(self, sink: Sink) -> Callable[[], None]:
        self.sinks.append(sink)
        return lambda: self.sinks.remove(sink) if sink in self.sinks else None

    def observe(self, observer: PlayObserver) -> Callable[[], None]:
        self.observers.append(observer)
        return lambda: self.observers.remove(observer)

    def play(self, pcm: bytes) -> None:
        if self.closed.done():
            raise LineClosedError("closed")
        if self.queued - self.heard + len(pcm) // 2 > self._limit:
            raise MediaError("too much")
        self.played += pcm
        self.queued += len(pcm) // 2
        for observer in self.observers:
            observer.played(pcm)

    def flush(self) -> None:
        self.queued = self.heard
        for observer in self.observers:
            observer.flushed(self.heard)

    def receive(self, pcm: bytes | None = None) -> None:
        frame = Frame(pcm or bytes(self.rate // 25), self._sequence, asyncio.get_running_loop().time())
        self._sequence += 1
        for sink in tuple(self.sinks):
            sink(frame)


class FakeSession:
    """A call whose lines a test opens and closes."""

    def __init__(self, call_id: str = "c1") -> None:
        self.id = call_id
        self.is_active = True
        self.record_paused = False
        self.lines: list[FakeLine] = []
        self.errors: list[Exception] = []
        self.opened = 0
        self._observers: list[Callable[[VoxtraEvent], None]] = []

    def observe(self, callback: Callable[[VoxtraEvent], None]) -> Callable[[], None]:
        self._observers.append(callback)
        return lambda: self._observers.remove(callback) if callback in self._observers else None

    @property
    def watched(self) -> int:
        return len(self._observers)

    async def open_line(self) -> FakeLine:
        self.opened += 1
        await asyncio.sleep(0)
        if not self.is_active:
            raise CallEndedError("over")
        if self.errors:
            raise self.errors.pop(0)
        if not self.lines or self.lines[-1].closed.done():
            self.lines.append(FakeLine())
        return self.lines[-1]

    def answer(self) -> None:
        self._tell(VoxtraEvent(type=EventType.CALL_ANSWERED))

    def end(self) -> None:
        self.is_active = False
        for line in self.lines:
            if not line.closed.done():
                line.closed.set_result("the call ended")
        self._tell(CallEndedEvent(reason="hangup", duration_seconds=1.0, cause=16))

    def _tell(self, event: VoxtraEvent) -> None:
        for observer in tuple(self._observers):
            observer(event)


class FakeCalls:
    def __init__(self, **living: Any) -> None:
        self.living = living

    def find(self, org: str, sid: str) -> Any:
        return self.living.get(sid) if org == "acme" else None
