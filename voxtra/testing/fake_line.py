"""A line on virtual time: frames come and go as over a real transport, but only while there is any sound.

A ten-minute call has 30,000 frames each way. Silence is not sent where nobody could tell: while neither side
makes sound, nothing listens but the turn-taking, and its last turn is decided.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Mapping

from voxtra.errors import MediaError
from voxtra.media.base_line import BaseLine
from voxtra.media.codecs import make_codec
from voxtra.media.line import FRAME_MS, Line, LineStats, Mark, Offer, Transport
from voxtra.media.paced import PacedPlayout
from voxtra.testing.fake_sound import FRAME_BYTES, RATE

FRAME_S = FRAME_MS / 1000
TAIL_S = 11.0
"""Silence after sound, s: more than any setting of turn-taking waits for."""
CLOSE_S = 0.001
"""How long a goodbye takes; who waits for the line's end notices it meanwhile."""
MAX_INCOMING = 500
"""Frames that may wait to be delivered (10 s); the oldest go."""
_SILENCE = bytes(FRAME_BYTES)


class FakeLine(BaseLine):
    """The app's side of a call's sound.

    Args:
        out: takes each 20 ms that is played, when it has been played.
        tail_s: for how long silence is delivered after the caller's last sound.
    """

    transport = "fake"

    def __init__(self, out: Callable[[bytes], None], *, tail_s: float = TAIL_S) -> None:
        stats = LineStats()
        self._playout = PacedPlayout(RATE, stats=stats)
        super().__init__(make_codec("slin"), self._playout, stats)
        self._out = out
        self._tail_s = tail_s
        self._incoming: deque[bytes] = deque(maxlen=MAX_INCOMING)
        self._opened = self._loop.time()
        self._deaf_from = 0.0
        self._player_timer: asyncio.TimerHandle | None = None
        self._frame_timer: asyncio.TimerHandle | None = None

    # ---- playing

    def play(self, pcm: bytes) -> None:
        """Queue PCM to be played."""
        super().play(pcm)
        self._go_on()

    def mark(self) -> Mark:
        """A mark after everything queued so far."""
        mark = super().mark()
        self._go_on()  # padded, the last frame is whole now
        return mark

    def pause(self) -> None:
        """Stop playing within a frame and keep the queue."""
        if not self._closed.done():
            self._playout.pause()

    def resume(self) -> None:
        """Go on playing."""
        self._playout.resume()
        self._go_on()

    async def flush(self) -> int:
        """Throw away what was not heard yet; returns what was."""
        self._playout.flush()
        return self.heard

    def _go_on(self) -> None:
        if self._player_timer is None and not self._closed.done():
            self._player_timer = self._loop.call_later(FRAME_S, self._play_frame, self._loop.time())

    def _play_frame(self, began: float) -> None:
        """20 ms have been played: what was in them is heard now."""
        self._player_timer = None
        frame = self._playout.take()
        if frame is None:
            return
        self._out(frame)
        self._playout.sent()
        now = began + FRAME_S
        self._player_timer = self._loop.call_at(now + FRAME_S, self._play_frame, now)

    # ---- hearing

    def receive(self, pcm: bytes) -> None:
        """20 ms from the other side, to be delivered in their turn."""
        if not self._closed.done():
            self._incoming.append(pcm)
            self._deaf_from = self._loop.time() + self._tail_s
            self._listen_on()

    def listen(self, sink: Callable[..., None]) -> Callable[[], None]:
        """Call ``sink`` with every frame received."""
        off = super().listen(sink)
        self._listen_on()
        return off

    def _listen_on(self) -> None:
        if self._frame_timer is None and not self._closed.done():
            self._frame_timer = self._loop.call_later(FRAME_S, self._next_frame)

    def _next_frame(self) -> None:
        self._frame_timer = None
        now = self._loop.time()
        self._sequence = max(self._sequence, round((now - self._opened) / FRAME_S))
        self._receive(self._incoming.popleft() if self._incoming else _SILENCE)
        # One listener is the turn-taking, which needs no silence once its turn is over. Others might.
        if now < self._deaf_from or self._incoming or len(self._sinks) > 1:
            self._listen_on()

    # ---- the end

    def lose(self, reason: str) -> None:
        """The other side is gone."""
        if self._finish(reason):
            for timer in (self._player_timer, self._frame_timer):
                if timer is not None:
                    timer.cancel()
            self._incoming.clear()

    async def close(self) -> None:
        """Close the line."""
        self.lose("closed here")
        await asyncio.sleep(CLOSE_S)


class FakeOffer(Offer):
    """A line that is being set up."""

    def __init__(self, transport: FakeTransport, key: str) -> None:
        self.params = {"external_host": key, "format": "slin"}
        self._transport = transport
        self._key = key

    async def connect(self, channelvars: Mapping[str, str], *, deadline_s: float = 5.0) -> Line:
        """The line of the media channel that was made for this offer."""
        line = self._transport.lines.get(self._key)
        if line is None:
            raise MediaError("no media channel was made for this line")
        return line

    async def cancel(self) -> None:
        """Give the offer up."""
        line = self._transport.lines.pop(self._key, None)
        if line is not None:
            line.lose("given up")


class FakeTransport(Transport):
    """Makes lines that end in the fake Asterisk.

    Attributes:
        lines: every line that was opened, by the ``external_host`` its channel was asked for with.
    """

    name = "fake"

    def __init__(self, *, tail_s: float = TAIL_S) -> None:
        self.lines: dict[str, FakeLine] = {}
        self._numbers = itertools.count(1)
        self._tail_s = tail_s

    async def start(self) -> None:
        """Nothing to open."""

    def offer(self) -> Offer:
        """Begin a line for one call."""
        return FakeOffer(self, f"fake:{next(self._numbers)}")

    def open(self, key: str, out: Callable[[bytes], None]) -> FakeLine:
        """The fake Asterisk makes the media channel of an offer."""
        line = self.lines[key] = FakeLine(out, tail_s=self._tail_s)
        return line

    async def close(self) -> None:
        """Close every line still open."""
        for line in self.lines.values():
            line.lose("the app stops")
