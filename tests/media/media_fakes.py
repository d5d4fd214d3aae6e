"""A chan_websocket in memory, as it was seen to behave, and small things the media tests share."""

from __future__ import annotations

import json
from collections import deque


class FakeChannel:
    """Asterisk's side of one chan_websocket channel: messages go in, ``tick`` plays 20 ms.

    ``events`` collects what it would send; ``played`` what the caller heard (None for silence).
    """

    XOFF, XON, FULL = 900, 800, 1000

    def __init__(self, frame_bytes: int) -> None:
        self.frame_bytes = frame_bytes
        self.queue: deque[bytes | str] = deque()
        self.events: list[str] = []
        self.played: list[bytes | None] = []
        self.paused = False
        self.longest = 0
        self.dropped = 0
        self.commands: list[str] = []
        self._report = False
        self._xoff = False
        self.mute = False
        """Never answer (a peer that hangs)."""

    @property
    def length(self) -> int:
        return sum(isinstance(item, bytes) for item in self.queue)

    def emit(self, event: str, **fields: object) -> None:
        if not self.mute:
            self.events.append(json.dumps({"event": event, "channel_id": "x", **fields}))

    def receive(self, message: bytes | str) -> None:
        if isinstance(message, bytes):
            self._audio(message)
            return
        body = json.loads(message)
        command = body["command"]
        self.commands.append(command)
        if command == "MARK_MEDIA":
            self.queue.append(body["correlation_id"])
        elif command == "GET_STATUS":
            self.emit("STATUS", queue_length=self.length, media_paused=self.paused)
        elif command == "FLUSH_MEDIA":
            self.queue.clear()
        elif command == "PAUSE_MEDIA":
            self.paused = True
        elif command == "CONTINUE_MEDIA":
            self.paused = False
        elif command == "REPORT_QUEUE_DRAINED":
            self._report = True

    def _audio(self, message: bytes) -> None:
        assert len(message) <= 65_500
        for at in range(0, len(message), self.frame_bytes):
            frame = message[at : at + self.frame_bytes]
            if len(frame) < self.frame_bytes or self.length >= self.FULL:
                self.dropped += 1
                continue
            self.queue.append(frame)
        self.longest = max(self.longest, self.length)
        if self.length >= self.XOFF and not self._xoff:
            self._xoff = True
            self.emit("MEDIA_XOFF")

    def tick(self) -> bytes | None:
        frame = None if self.paused else self._next()
        self.played.append(frame)
        return frame

    def _next(self) -> bytes | None:
        if self._xoff and self.length < self.XON:
            self._xoff = False
            self.emit("MEDIA_XON")
        if not self.queue:
            if self._report:
                self._report = False
                self.emit("QUEUE_DRAINED")
            return None
        while self.queue:
            item = self.queue.popleft()
            if isinstance(item, bytes):
                return item
            self.emit("MEDIA_MARK_PROCESSED", correlation_id=item)
        return None

    @property
    def voiced(self) -> bytes:
        return b"".join(frame for frame in self.played if frame is not None)


class Point:
    """A mark without an event loop."""

    def __init__(self) -> None:
        self.position = -1
        self.outcome: str | None = None

    def resolve(self, outcome: str) -> None:
        if self.outcome is None:
            self.outcome = outcome
