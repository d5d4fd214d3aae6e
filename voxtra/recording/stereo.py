"""A call recorded in stereo while it goes on: left the caller, right the agent, aligned by media time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from os import PathLike
from pathlib import Path

from voxtra.errors import MediaError
from voxtra.media.line import Frame, Line
from voxtra.recording.axis import KEEP_S, StereoAxis
from voxtra.recording.heard import HeardTrack
from voxtra.recording.tape import LEFT, RIGHT
from voxtra.recording.wav_file import WavFile

WRITE_EVERY_S = 1.0
LAY_S = 5.0
"""Sound of Asterisk's that goes to the disk at once, s."""


class StereoRecorder:
    """Records a line from now until ``close()`` or, unless it ``outlives`` it, the line's own end.

    The left channel is the caller: each frame in its 20 ms slot, silence where none came. The right one is
    what the caller was *played* of the agent's sound: paused and flushed sound is not on it. One slot of the
    left channel and the same slot of the right one were on the wire at the same time.

    Memory is a few seconds of sound; the file grows each second, on threads shared by all recordings, and is
    a whole WAV at any moment. Failure of the disk never reaches the call: see ``error``.

    Args:
        line: what is recorded; None = nothing but what is laid in.
        path: the WAV file (16-bit, the line's rate); its folder is made, a file that is there is replaced.
        rate: Hz, when there is no line.
        outlives: the recording goes on, silent, when the line closes, until another is attached or it is closed.

    Raises:
        MediaError: the file can't be written.
    """

    def __init__(
        self, line: Line | None, path: str | PathLike[str], *, rate: int = 8000, outlives: bool = False
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.path = Path(path)
        self.rate = line.rate if line is not None else rate
        self.started_at = self._loop.time()
        """``loop.time()`` of the first sample, s."""
        self._file = WavFile(self.path, self.rate)
        self._axis = StereoAxis(self.rate, self.started_at)
        self._tape = self._axis.tape
        self._line: Line | None = None
        self._track: HeardTrack | None = None
        self._leave: tuple[Callable[[], None], ...] = ()
        self._silent_since: float | None = None
        """When the line closed that nothing has replaced."""
        self._outlives = outlives
        self._samples: int | None = None
        self._closing: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(WRITE_EVERY_S, self._tick)
        if line is not None:
            self.attach(line)

    def attach(self, line: Line) -> None:
        """Record this line from now on, in place of the one so far (which has closed).

        Raises:
            MediaError: its rate is another.
        """
        if self._samples is not None or line is self._line or line.closed.done():
            return
        if line.rate != self.rate:
            raise MediaError(f"a recording at {self.rate} Hz can't go on with a line at {line.rate} Hz")
        self._detach()
        self._silent_since = None
        self._line = line
        track = self._axis.follow(line.heard, line.queued, line.paused, self._loop.time)
        self._track = track
        self._leave = (line.listen(self._take), line.observe(track))
        line.closed.add_done_callback(self._line_closed)

    def _detach(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.closed.remove_done_callback(self._line_closed)
        for leave in self._leave:
            leave()
        self._leave = ()
        self._axis.settle()
        self._advance()
        self._track = None

    def _advance(self) -> None:
        if self._track is not None:
            self._track.advance(self._axis.slot(self._loop.time()))

    # -- the axis

    def at(self, time: float) -> float:
        """A moment of the loop's clock (s), as media time in ms since the recording began."""
        return self._axis.ms(time)

    @property
    def now_ms(self) -> float:
        """Media time in ms since the recording began."""
        return self.at(self._loop.time())

    # -- what a user calls

    @property
    def recording(self) -> bool:
        """True until it is closed, or the line is."""
        return self._samples is None

    @property
    def error(self) -> MediaError | None:
        """Why the file is not whole (full disk, slow disk), None when it is."""
        return self._file.error

    @property
    def duration_s(self) -> float:
        """Length in s: so far, or of the finished recording."""
        return self.now_ms / 1000 if self._samples is None else self._samples / self.rate

    @property
    def paused(self) -> bool:
        """True between ``pause()`` and ``resume()``."""
        return self._axis.muted.is_open

    @property
    def pauses_ms(self) -> list[tuple[int, int]]:
        """What was left out by ``pause()``, as (begin, end) in ms."""
        end = self._axis.at(self._loop.time()) if self._samples is None else self._samples
        spans = self._axis.muted.to_list(end)
        return [(first * 1000 // self.rate, last * 1000 // self.rate) for first, last in spans]

    def pause(self) -> None:
        """Record silence from now on, so that time stays aligned (card numbers, PINs). Idempotent.

        What was spoken in a pause stays out even when its frames come late.
        """
        if not self.paused and self._samples is None:
            self._advance()
            self._axis.mute(self._loop.time())

    def resume(self) -> None:
        """Record again. Idempotent."""
        if self.paused and self._samples is None:
            self._advance()
            self._axis.unmute(self._loop.time())

    def depart(self) -> None:
        """The call's sound is elsewhere from now on: what the line brings is not it. Idempotent."""
        if self._samples is None:
            self._advance()
            self._axis.depart(self._loop.time())

    def back(self, lanes: tuple[int, ...] = (LEFT, RIGHT)) -> None:
        """The call's sound (or that of one lane) is the line's again. Idempotent."""
        if self._samples is None:
            self._advance()
            self._axis.back(self._loop.time(), lanes)

    async def lay(self, left: tuple[float, bytes], right: tuple[float, bytes]) -> None:
        """Put what was recorded elsewhere in its place: only what lies between ``depart`` and ``back`` is taken.

        Args:
            left, right: ``loop.time()`` of the first sample in s, and 16-bit PCM at ``rate``.
        """
        size = int(LAY_S * self.rate) * 2
        for lane, (time, pcm) in ((LEFT, left), (RIGHT, right)):
            at = self._axis.at(time)
            for start in range(0, len(pcm), size):
                self._axis.lay(
                    lane, at + start // 2, self._clipped(at + start // 2, pcm[start : start + size])
                )
                self._file.write(self._axis.hand_on(0))
                await self._file.caught_up()

    def _clipped(self, at: int, pcm: bytes) -> bytes:
        return pcm if self._samples is None else pcm[: max(0, self._samples - at) * 2]

    def end(self, time: float | None = None) -> None:
        """The recording's end is now (or was at ``time``, s of the loop's clock). What is missing may be laid in."""
        if self._samples is not None:
            return
        self._timer.cancel()
        silent = self._silent_since if not self._axis.away[LEFT].is_open else None
        self._detach()
        ends = [each for each in (time, silent) if each is not None]
        if ends:
            self._samples = max(self._axis.slot(min(ends)), self._axis.clock.next) * self._axis.frame
        else:
            self._samples = max(self._axis.slot(self._loop.time()), self._axis.clock.next) * self._axis.frame
        self._axis.muted.end(self._samples)
        self._file.write(self._axis.hand_on(self._samples))

    async def close(self) -> float:
        """End the recording; returns its length in s once the file is whole and synced. Idempotent.

        Never raises for the disk's sake: see ``error``.
        """
        closing = self._finish()
        await asyncio.shield(closing)
        return self.duration_s

    def _finish(self) -> asyncio.Task[None]:
        self.end()
        if self._closing is None:
            assert self._samples is not None
            self._closing = self._loop.create_task(self._file.close(self._samples))
        return self._closing

    # -- what the line tells

    def _take(self, frame: Frame) -> None:
        self._axis.hear(frame.time, frame.pcm)
        if self._axis.crowded():
            self._file.write(self._axis.hand_on(self._tape.end - int(KEEP_S * self.rate)))

    def _line_closed(self, _: asyncio.Future[str]) -> None:
        if self._outlives:
            self._detach()
            self._silent_since = self._loop.time()
        else:
            self._finish()

    def _tick(self) -> None:
        """Each second: what is older than a flush or a late frame reaches goes to the file."""
        self._timer = self._loop.call_later(WRITE_EVERY_S, self._tick)
        now = self._loop.time()
        if self._axis.clock.overdue(now):
            self._axis.settle()
        self._advance()
        until = self._axis.slot(now) * self._axis.frame - int(KEEP_S * self.rate)
        if until > self._tape.base:
            self._file.write(self._axis.hand_on(until))
