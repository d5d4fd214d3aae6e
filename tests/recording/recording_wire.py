"""A line on a simulated wire and a loop whose clock the test moves: ten seconds of call in milliseconds."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import numpy as np

from voxtra.media.chan_websocket import WebSocketPlayout
from voxtra.media.codecs import make_codec
from voxtra.media.paced_line import PacedLine
from voxtra.media.websocket_line import WebSocketLine

sys.path.insert(0, str(Path(__file__).parents[1] / "media"))
from media_fakes import FakeChannel

RATE = 8000
FRAME = 160
SLOT_S = 0.02


class JumpLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is what the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def time(self) -> float:
        return self.now


class NoClock:
    """The 20 ms clock is the test's."""

    def join(self, tick):
        return lambda: None


class PacedWire(PacedLine):
    """A line that we pace (RTP, AudioSocket), without its socket; ``wire`` is what was sent each tick."""

    transport = "rtp"

    def __init__(self) -> None:
        super().__init__(make_codec("slin"), NoClock(), max_queue_ms=600_000)
        self.wire: list[bytes | None] = []

    def _can_send(self) -> bool:
        return not self._closed.done()

    def _send_frame(self, data: bytes) -> None:
        self.wire.append(data)

    def tick(self) -> None:
        self._tick()

    def answer(self) -> None:
        """Nobody to ask."""

    async def close(self) -> None:
        self._finish("closed here")


class WebSocketWire(WebSocketLine):
    """A chan_websocket line whose socket is Asterisk's behaviour in memory."""

    def __init__(self) -> None:
        super().__init__(make_codec("slin"))
        self.channel = FakeChannel(FRAME * 2)
        self.wire: list[bytes | None] = self.channel.played
        self.is_disconnected = True
        self._socket = self  # type: ignore[assignment]
        assert isinstance(self._playout, WebSocketPlayout)

    def send(self, kind: object, message: bytes) -> None:
        self.channel.receive(message.decode() if message[:1] == b"{" else message)

    def tick(self) -> None:
        self.channel.tick()

    def answer(self) -> None:
        events, self.channel.events[:] = list(self.channel.events), []
        for event in events:
            self._on_event(event)

    def _send(self) -> None:
        outbox = self._playout.outbox
        for message in outbox:
            self.channel.receive(message)
        outbox.clear()


def lane(frames: list[bytes | None]) -> np.ndarray:
    """Frames, None for silence, as samples."""
    return np.frombuffer(b"".join(frame or bytes(FRAME * 2) for frame in frames), "<i2")


def samples(first: int, count: int) -> bytes:
    """``count`` samples that count up from ``first``: every one tells where it came from. 1 to 32767."""
    return ((np.arange(first, first + count) % 32767) + 1).astype("<i2").tobytes()


async def settle(times: int = 3) -> None:
    """Let timers that are due and callbacks run."""
    for _ in range(times):
        await asyncio.sleep(0)


def run(coroutine_function, *args):
    """Run on a :class:`JumpLoop`."""
    with asyncio.Runner(loop_factory=JumpLoop) as runner:
        return runner.run(coroutine_function(*args))
