"""chan_websocket's control protocol and the playing that goes with it. Sans-I/O.

Asterisk paces: we send sound ahead, it queues up to 1,000 frames and plays one each 20 ms. Every command and
event is a JSON text message (``f(json)``), every binary message is sound. Known of the far side:

- a message that is no whole multiple of a frame loses the remainder, so only whole frames are sent;
- MARK_MEDIA is answered when the sound before it has been played: that alone moves ``heard``;
- STATUS tells the queue's length at the moment the command is read, and PAUSE_MEDIA freezes it before: so
  pause, status, flush, continue in one go tells exactly what was heard;
- QUEUE_DRAINED comes at the next tick with an empty queue, never while paused;
- nothing is answered to FLUSH_MEDIA, and it forgets marks it has not passed.

https://docs.asterisk.org/Configuration/Channel-Drivers/WebSocket
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any, Literal

from voxtra.media.codecs import Codec
from voxtra.media.line import LineStats
from voxtra.media.playout import Playout, Point

MAX_MESSAGE_BYTES = 65_000
"""A message over 65,500 bytes ends the channel."""
MAX_EVENT_BYTES = 65_536
"""Longest control message taken from Asterisk."""

Signal = Literal["start", "flushed", "error", "malformed"]


def command(name: str, **fields: str) -> str:
    """A control message in Asterisk's JSON form."""
    return json.dumps({"command": name, **fields}, separators=(",", ":"))


_PAUSE = command("PAUSE_MEDIA")
_CONTINUE = command("CONTINUE_MEDIA")
_STATUS = command("GET_STATUS")
_FLUSH = command("FLUSH_MEDIA")
_REPORT = command("REPORT_QUEUE_DRAINED")


class WebSocketPlayout(Playout):
    """One channel's playing. Calls and events go in, ``outbox`` (str and bytes, in order) is to be sent.

    Args:
        codec: the channel's format.
        max_queue_ms: bound of the queue, ms.
        window_frames: frames that may be at Asterisk and not known to be heard.
        mark_frames: frames between marks of our own.
    """

    def __init__(
        self,
        codec: Codec,
        *,
        max_queue_ms: int = 600_000,
        window_frames: int = 500,
        mark_frames: int = 50,
        stats: LineStats | None = None,
    ) -> None:
        super().__init__(codec.frame_samples, codec.rate * max_queue_ms // 1000, stats or LineStats())
        self.outbox: list[str | bytes] = []
        self.held = False
        """Set by the shell while its socket takes no more."""
        self.error = ""
        """Asterisk's words in the last ERROR event."""
        self.start: dict[str, Any] = {}
        """MEDIA_START, once it has come."""
        self._codec = codec
        self._window = window_frames * codec.frame_samples
        self._mark_every = min(mark_frames, MAX_MESSAGE_BYTES // codec.frame_bytes) * codec.frame_samples
        self._sent = 0
        self._marked = 0
        self._quiet = 0
        self._xoff = False
        self._generation = 0
        self._statuses_due = 0
        self._status_seen = False
        self._stops: deque[int] = deque()
        """Positions still to be sent up to where a mark of the user stands."""
        self._dying: list[Point] = []
        self._flush_sent = 0

    # -- what the line asks for

    def play(self, pcm: bytes) -> None:
        """Queue PCM and send what the window lets through."""
        self.take_in(pcm)
        self.pump()

    def mark(self, point: Point) -> None:
        """Set a mark at the end of the queue."""
        self.add_mark(point)
        position = point.position
        if (
            position > self._marked
            and position > self.heard
            and (not self._stops or self._stops[-1] != position)
        ):
            self._stops.append(position)
        self.pump()

    def pause(self) -> None:
        """Stop playing, keep the queue."""
        if not self.paused:
            self.paused = True
            self.outbox.append(_PAUSE)
            if not self.flushing:
                self._tell_paused()

    def resume(self) -> None:
        """Go on where ``pause`` stopped."""
        if self.paused:
            self.paused = False
            self.outbox.append(_CONTINUE)
            if not self.flushing:
                self._tell_resumed()

    def flush(self) -> bool:
        """Throw away what was not heard. True: done. False: ``flushing`` until Asterisk has answered.

        Sound played in the meantime waits here and follows.
        """
        dropped = len(self._pcm) // self.frame_bytes
        self._pcm.clear()
        self._stops.clear()
        self.stats.frames_dropped += dropped
        if self.flushing:
            # What is being flushed already is settled by the answer; this takes only what came since.
            self.queued = self.heard
            while self._points:
                self._points.popleft().resolve("flushed")
            return False
        if self._sent == self.heard:
            self.queued = self.heard
            while self._points:
                self._points.popleft().resolve("flushed")
            self.resume()
            self._tell_flushed()
            return True
        self._tell_paused()
        self.flushing = True
        self.paused = False
        self._flush_sent = self._sent
        self._dying = list(self._points)
        self._points.clear()
        self._sent = self._marked = self.queued = self.heard
        self._generation += 1
        self._status_seen = False
        self._statuses_due += 1
        self.outbox += (_PAUSE, _STATUS, _FLUSH, _CONTINUE, _REPORT)
        return False

    def give_up_flush(self) -> None:
        """Asterisk has not answered in time: go on with the lower bound that is known."""
        if self.flushing:
            self._end_flush()

    def tick(self) -> None:
        """Called now and then (each received frame): marks the end of sound that nobody has marked."""
        if self._marked != self._sent and not self.flushing:
            self._quiet += 1
            if self._quiet > 4:
                self._send_mark()

    # -- what Asterisk says

    def event(self, text: str | bytes) -> Signal | None:
        """Take a control message. Returns what the shell should know of."""
        try:
            message = json.loads(text)
            name = message["event"]
        except (ValueError, KeyError, TypeError, RecursionError):
            self.stats.malformed += 1
            return "malformed"
        if name == "MEDIA_MARK_PROCESSED":
            return self._on_mark(message.get("correlation_id"))
        if name == "STATUS":
            return self._on_status(message.get("queue_length"))
        if name == "QUEUE_DRAINED":
            if self.flushing and self._status_seen:
                self._end_flush()
                return "flushed"
        elif name == "MEDIA_XOFF":
            self._xoff = True
        elif name == "MEDIA_XON":
            self._xoff = False
            self.pump()
        elif name == "MEDIA_START":
            self.start = message
            return "start"
        elif name == "ERROR":
            self.error = str(message.get("error_text", ""))[:500]
            return "error"
        return None

    def _on_mark(self, label: object) -> Signal | None:
        try:
            generation, position = (int(part) for part in str(label).split("."))
        except ValueError:
            self.stats.malformed += 1
            return "malformed"
        if generation == self._generation and self.heard < position <= self._sent:
            self.stats.frames_played += (position - self.heard) // self.frame_samples
            self.advance(position)
            self.pump()
        return None

    def _on_status(self, length: object) -> Signal | None:
        if not isinstance(length, int) or isinstance(length, bool) or length < 0:
            self.stats.malformed += 1
            return "malformed"
        if self._statuses_due:
            self._statuses_due -= 1
        if not self.flushing or self._status_seen or self._statuses_due:
            return None  # the answer to a flush that was given up
        self._status_seen = True
        heard = max(self.heard, self._flush_sent - length * self.frame_samples)
        self.stats.frames_played += (heard - self.heard) // self.frame_samples
        self.stats.frames_dropped += (self._flush_sent - heard) // self.frame_samples
        self._rebase(heard)
        return None

    def _rebase(self, heard: int) -> None:
        """What was played since the flush began was counted from a guess; count it from ``heard``."""
        shift = heard - self.heard
        if shift:
            self.heard = heard
            self.queued += shift
            self._sent = self._marked = heard
            for point in self._points:
                point.position += shift
            self._stops = deque(stop + shift for stop in self._stops)

    def _end_flush(self) -> None:
        self.flushing = False
        self._status_seen = False
        for point in self._dying:
            point.resolve("heard" if point.position <= self.heard else "flushed")
        self._dying = []
        self._tell_flushed()
        self.pump()

    # -- sending

    def pump(self) -> None:
        """Send as much as the window allows, with a mark where one is wanted."""
        pcm = self._pcm
        if self.flushing or self._xoff or self.held:
            return
        while len(pcm) >= self.frame_bytes:
            room = self._window - (self._sent - self.heard)
            stop = self._marked + self._mark_every
            if self._stops and self._stops[0] < stop:
                stop = self._stops[0]
            samples = min(len(pcm) >> 1, room, stop - self._sent)
            samples -= samples % self.frame_samples
            if samples <= 0:
                break
            size = samples * 2
            if size == len(pcm):
                data = self._codec.encode(pcm)
                pcm.clear()
            else:
                data = self._codec.encode(pcm[:size])
                del pcm[:size]
            self._sent += samples
            self._quiet = 0
            self.outbox.append(data)
            self.stats.bytes_sent += len(data)
            if self._sent == stop:
                self._send_mark()
        if self._stops and self._stops[0] <= self._sent:
            self._send_mark()

    def _send_mark(self) -> None:
        self._marked = self._sent
        self._quiet = 0
        while self._stops and self._stops[0] <= self._sent:
            self._stops.popleft()
        self.outbox.append(command("MARK_MEDIA", correlation_id=f"{self._generation}.{self._sent}"))

    def close(self) -> None:
        """The line is gone."""
        super().close()
        self._stops.clear()
        for point in self._dying:
            point.resolve("closed")
        self._dying = []
        self.flushing = False
        self.outbox.clear()
