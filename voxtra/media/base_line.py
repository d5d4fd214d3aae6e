"""What the three lines have in common: sinks, frames, marks, counters, the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from voxtra.errors import LineClosedError
from voxtra.media.codecs import Codec
from voxtra.media.line import Frame, Line, LineStats, Mark, MarkOutcome, PlayObserver, Sink
from voxtra.media.playout import Playout


class BaseLine(Line):
    """A line without its transport. A subclass feeds ``_receive`` and sends what ``_playout`` gives.

    Args:
        codec: the wire's format; the line's own.
        playout: the queue of sound to be played.
        stats: counters, shared with ``playout``.
    """

    def __init__(self, codec: Codec, playout: Playout, stats: LineStats) -> None:
        self.codec = codec.name
        self.rate = codec.rate
        self._codec = codec
        self._frame_bytes = codec.frame_bytes
        self._decode = codec.decode
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._sinks: tuple[Sink, ...] = ()
        self._sequence = 0
        self._rest = b""
        self._stats = stats
        self._closed: asyncio.Future[str] = self._loop.create_future()
        self._player = playout

    def listen(self, sink: Sink) -> Callable[[], None]:
        """Call ``sink`` with every frame received."""

        def deliver(frame: Frame) -> None:
            sink(frame)

        # A wrapper of its own, so that the same sink may listen twice and each be ended alone.
        if not self._closed.done():
            self._sinks += (deliver,)
        return lambda: self._drop_sink(deliver)

    def _drop_sink(self, sink: Sink) -> None:
        self._sinks = tuple(each for each in self._sinks if each is not sink)

    def _receive(self, data: bytes | memoryview) -> None:
        """Sound from the wire, of any length: cut into frames and handed to the sinks."""
        self._stats.bytes_received += len(data)
        size = self._frame_bytes
        if len(data) == size and not self._rest:
            self._deliver(self._decode(data))
            return
        data = self._rest + bytes(data)
        end = len(data) - len(data) % size
        for start in range(0, end, size):
            self._deliver(self._decode(data[start : start + size]))
        self._rest = data[end:]

    def _deliver(self, pcm: bytes, lost: bool = False) -> None:
        frame = Frame(pcm, self._sequence, self._now(), lost)
        self._sequence += 1
        stats = self._stats
        stats.frames_received += 1
        if lost:
            stats.frames_lost += 1
        for sink in self._sinks:
            try:
                sink(frame)
            except Exception as error:  # noqa: BLE001 - reported; one bad listener must not deafen the others
                self._drop_sink(sink)
                self._loop.call_exception_handler(
                    {"message": "a sink of a line failed and was dropped", "exception": error, "line": self}
                )

    def play(self, pcm: bytes) -> None:
        """Queue PCM to be played."""
        if self._closed.done():
            raise LineClosedError(f"the {self.transport} line is closed ({self._closed.result()})")
        self._player.play(pcm)

    def observe(self, observer: PlayObserver) -> Callable[[], None]:
        """Tell ``observer`` what is queued, paused and flushed."""
        return self._player.observe(observer)

    def mark(self) -> Mark:
        """A mark after everything queued so far."""
        mark = Mark(self._player.queued)
        if self._closed.done():
            mark.resolve("closed")
        else:
            self._player.mark(mark)
        return mark

    @property
    def queued(self) -> int:
        """Samples ever queued and not flushed."""
        return self._player.queued

    @property
    def heard(self) -> int:
        """Position up to which our sound has been played, at least."""
        return self._player.heard

    @property
    def paused(self) -> bool:
        """True between ``pause()`` and ``resume()`` or ``flush()``."""
        return self._player.paused

    async def drained(self) -> MarkOutcome:
        """Wait until all that is queued now has been heard."""
        return await self.mark().wait()

    @property
    def stats(self) -> LineStats:
        """Counters since the line opened."""
        return self._stats

    @property
    def closed(self) -> asyncio.Future[str]:
        """Resolves with the reason when the line closes."""
        return self._closed

    def _finish(self, reason: str) -> bool:
        """The line has come to its end. False when it had already."""
        if self._closed.done():
            return False
        self._closed.set_result(reason)
        self._player.close()
        self._sinks = ()
        return True
