"""A call recorded in stereo while it goes on: left the caller, right the agent, aligned by media time."""

from __future__ import annotations

import asyncio
from math import ceil
from os import PathLike
from pathlib import Path

from voxtra.errors import MediaError
from voxtra.media.line import FRAME_MS, Frame, Line
from voxtra.recording.heard import HeardTrack
from voxtra.recording.slots import SlotClock
from voxtra.recording.tape import LEFT, RIGHT, Tape
from voxtra.recording.wav_file import WavFile

WRITE_EVERY_S = 1.0
_KEEP_S = 2.0
"""Sound kept in memory, since a flush or a late frame may still change it (on disk it can be changed too)."""
_MAX_KEEP_S = 10.0


class StereoRecorder:
    """Records a line from now until ``close()`` or the line's own end.

    The left channel is the caller: each frame in its 20 ms slot, silence where none came. The right one is
    what the caller was *played* of the agent's sound: paused and flushed sound is not on it. One slot of the
    left channel and the same slot of the right one were on the wire at the same time.

    Memory is a few seconds of sound; the file grows each second, on threads shared by all recordings, and is
    a whole WAV at any moment. Failure of the disk never reaches the call: see ``error``.

    Args:
        line: what is recorded.
        path: the WAV file (16-bit, the line's rate); its folder is made, a file that is there is replaced.

    Raises:
        MediaError: the file can't be written.
    """

    def __init__(self, line: Line, path: str | PathLike[str]) -> None:
        self._loop = asyncio.get_running_loop()
        self._line = line
        self.path = Path(path)
        self.rate = line.rate
        self.started_at = self._loop.time()
        """``loop.time()`` of the first sample, s."""
        self._frame = line.rate * FRAME_MS // 1000
        self._file = WavFile(self.path, line.rate)
        self._tape = Tape(line.rate)
        self._clock = SlotClock(self.started_at)
        self._track = HeardTrack(
            self._slot,
            self._frame,
            lambda at, pcm: self._put(RIGHT, at, pcm),
            lambda at, samples: self._tape.erase(RIGHT, at, samples),
            heard=line.heard,
            queued=line.queued,
            paused=line.paused,
        )
        self._muted_since: int | None = None
        self._muted: list[tuple[int, int]] = []
        """Stretches of the axis, in samples, that are kept silent."""
        self._samples = 0
        self._closing: asyncio.Task[None] | None = None
        self._leave = (line.listen(self._take), line.observe(self._track))
        self._timer = self._loop.call_later(WRITE_EVERY_S, self._tick)
        line.closed.add_done_callback(self._line_closed)

    # -- the axis

    def at(self, time: float) -> float:
        """A moment of the loop's clock (s), as media time in ms since the recording began."""
        return max(0.0, self._clock.at(time) * FRAME_MS)

    @property
    def now_ms(self) -> float:
        """Media time in ms since the recording began."""
        return self.at(self._loop.time())

    # -- what a user calls

    @property
    def recording(self) -> bool:
        """True until it is closed, or the line is."""
        return self._closing is None

    @property
    def error(self) -> MediaError | None:
        """Why the file is not whole (full disk, slow disk), None when it is."""
        return self._file.error

    @property
    def duration_s(self) -> float:
        """Length in s: so far, or of the finished recording."""
        return self._samples / self.rate if self._closing is not None else self.now_ms / 1000

    @property
    def paused(self) -> bool:
        """True between ``pause()`` and ``resume()``."""
        return self._muted_since is not None

    def pause(self) -> None:
        """Record silence from now on, so that time stays aligned (card numbers, PINs). Idempotent.

        What was spoken in a pause stays out even when its frames come late.
        """
        if self._muted_since is None and self._closing is None:
            self._track.advance(self._slot())
            self._muted_since = max(0, int(self._clock.at(self._loop.time()))) * self._frame

    def resume(self) -> None:
        """Record again. Idempotent."""
        if self._muted_since is not None and self._closing is None:
            slot = self._slot()
            self._track.advance(slot)
            self._muted.append((self._muted_since, slot * self._frame))
            self._muted_since = None

    async def close(self) -> float:
        """End the recording; returns its length in s once the file is whole and synced. Idempotent.

        Never raises for the disk's sake: see ``error``.
        """
        closing = self._finish()
        await asyncio.shield(closing)
        return self.duration_s

    # -- what the line tells

    def _take(self, frame: Frame) -> None:
        # Silenced by arrival here and by place in _put: what a pause is to hide comes through neither way.
        pcm = frame.pcm if self._muted_since is None else bytes(len(frame.pcm))
        for slot, placed in self._clock.place(frame.time, pcm):
            self._put(LEFT, slot * self._frame, placed)

    def _slot(self) -> int:
        """The first slot that is still to come."""
        # Less a rounding error: a moment that is a slot's beginning belongs to it.
        return max(0, ceil(self._clock.at(self._loop.time()) - 1e-6))

    def _put(self, lane: int, at: int, pcm: bytes) -> None:
        if self._muted or self._muted_since is not None:
            pcm = self._silenced(at, pcm)
        tape = self._tape
        tape.put(lane, at, pcm)
        if tape.end - tape.base > _MAX_KEEP_S * self.rate:
            self._file.write(tape.hand_on(tape.end - int(_KEEP_S * self.rate)))

    def _silenced(self, at: int, pcm: bytes) -> bytes:
        """``pcm``, without what lies in a pause."""
        end = at + (len(pcm) >> 1)
        open_end = [] if self._muted_since is None else [(self._muted_since, end)]
        for since, until in self._muted + open_end:
            first, last = max(since, at), min(until, end)
            if first < last:
                pcm = pcm[: (first - at) * 2] + bytes((last - first) * 2) + pcm[(last - at) * 2 :]
        return pcm

    # -- the file

    def _tick(self) -> None:
        """Each second: what is older than a flush or a late frame reaches goes to the file."""
        self._timer = self._loop.call_later(WRITE_EVERY_S, self._tick)
        now = self._loop.time()
        if self._clock.overdue(now):
            self._place_pending()
        slot = self._slot()
        self._track.advance(slot)
        until = slot * self._frame - int(_KEEP_S * self.rate)
        if until > self._tape.base:
            self._file.write(self._tape.hand_on(until))

    def _place_pending(self) -> None:
        for slot, pcm in self._clock.settle():
            self._put(LEFT, slot * self._frame, pcm)

    def _line_closed(self, _: asyncio.Future[str]) -> None:
        self._finish()

    def _finish(self) -> asyncio.Task[None]:
        if self._closing is None:
            self._timer.cancel()
            self._line.closed.remove_done_callback(self._line_closed)
            for leave in self._leave:
                leave()
            self._place_pending()
            slot = max(self._slot(), self._clock.next)
            self._track.advance(slot)
            self._samples = slot * self._frame
            self._file.write(self._tape.hand_on(self._samples))
            self._closing = self._loop.create_task(self._file.close(self._samples))
        return self._closing
