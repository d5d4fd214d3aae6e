"""One call's received sound to any number of subscribers: one encoder a format, however many take it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from voxtra.media.line import Frame, Line
from voxtra.relay.coding import FrameEncoder
from voxtra.relay.media_clock import MediaClock
from voxtra.wire import AudioFormat, SoundFrame

Deliver: TypeAlias = Callable[[SoundFrame], None]
"""Takes a frame, on the spot; it must neither block nor raise."""


class _Encoding:
    """One format's encoder, and who takes its frames."""

    def __init__(self, form: AudioFormat) -> None:
        self.form = form
        self.takers: tuple[Deliver, ...] = ()
        self._encoder: FrameEncoder | None = None

    def push(self, pcm: bytes, rate: int, at_us: int) -> None:
        if self._encoder is None or self._encoder.rate != rate:
            self._encoder = FrameEncoder(self.form, rate)
        for frame in self._encoder.push(pcm, at_us):
            for take in self.takers:
                take(frame)


class Feed:
    """What is received on a line, and on those that take its place, as frames of the formats asked for.

    Args:
        silent: asked at each frame whether nobody may hear it.
    """

    def __init__(self, silent: Callable[[], bool] = lambda: False) -> None:
        self._silent = silent
        self._encodings: dict[AudioFormat, _Encoding] = {}
        self._clock = MediaClock()
        self._rate = 8000
        self._off: Callable[[], None] = lambda: None

    @property
    def encoders(self) -> int:
        """How many formats are being made."""
        return len(self._encodings)

    def follow(self, line: Line) -> None:
        """Take the sound of this line from now on."""
        self._off()
        self._clock.new_line()
        self._rate = line.rate
        self._off = line.listen(self._frame)

    def _frame(self, frame: Frame) -> None:
        at_us = self._clock.at(frame.sequence, frame.time)
        pcm = bytes(len(frame.pcm)) if self._silent() else frame.pcm
        for encoding in tuple(self._encodings.values()):
            encoding.push(pcm, self._rate, at_us)

    def subscribe(self, form: AudioFormat, deliver: Deliver) -> Callable[[], None]:
        """Give ``deliver`` every frame of this format from now on. Returns what ends it."""

        def each(frame: SoundFrame) -> None:
            deliver(frame)

        encoding = self._encodings.setdefault(form, _Encoding(form))
        encoding.takers = (*encoding.takers, each)

        def off() -> None:
            encoding.takers = tuple(take for take in encoding.takers if take is not each)
            if not encoding.takers and self._encodings.get(form) is encoding:
                del self._encodings[form]

        return off

    def close(self) -> None:
        """Take no more sound."""
        self._off()
        self._encodings.clear()
