"""One publisher's sound into a line: decoding, what comes late, and how much may wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from voxtra.errors import LineClosedError, MediaError
from voxtra.media.line import Line
from voxtra.relay.catch_up import CatchUp
from voxtra.relay.coding import FrameDecoder
from voxtra.relay.lateness import Lateness
from voxtra.wire import AudioFormat, SoundFrame

MAX_WAITING_S = 30.0
"""How much sound of one publisher may wait to be heard, s; what comes then is dropped."""


@dataclass(slots=True)
class SpeakerStats:
    """What became of a publisher's frames."""

    played: int = 0
    dropped: int = 0
    """Came while ``MAX_WAITING_S`` of it waited already, or while there was no line."""
    late: int = 0
    """Came, or waited, too long."""


class Waiting:
    """What waits in a line that several speak on. Observes the line.

    ``heard`` is a lower bound that may lag by a second, so how soon new sound is heard is reckoned by the clock:
    what is queued is played in real time.
    """

    def __init__(self, line: Line, now: Callable[[], float]) -> None:
        self._line = line
        self._now = now
        self._pieces: deque[tuple[int, int]] = deque()
        self._samples = 0
        self._end = now() + (line.queued - line.heard) / line.rate
        self._paused_at = now() if line.paused else None
        self._off = line.observe(self)

    @property
    def own_s(self) -> float:
        """How much of this publisher's sound was not heard yet, at most, s."""
        while self._pieces and self._pieces[0][0] <= self._line.heard:
            self._samples -= self._pieces.popleft()[1]
        return self._samples / self._line.rate

    @property
    def ahead_s(self) -> float:
        """How long what is queued now, whoever queued it, will take to be heard, s."""
        return max(0.0, self._end - (self._now() if self._paused_at is None else self._paused_at))

    def add(self, samples: int) -> None:
        """So much of this publisher's has just been queued."""
        self._pieces.append((self._line.queued, samples))
        self._samples += samples

    def played(self, pcm: bytes) -> None:
        """Somebody's sound was queued."""
        now = self._now() if self._paused_at is None else self._paused_at
        self._end = max(self._end, now) + len(pcm) / 2 / self._line.rate

    def paused(self) -> None:
        """Playing stops."""
        self._paused_at = self._paused_at or self._now()

    def resumed(self) -> None:
        """Playing goes on."""
        if self._paused_at is not None:
            self._end += self._now() - self._paused_at
            self._paused_at = None

    def flushed(self, heard: int) -> None:
        """Nothing waits any more, and a pause is over."""
        self._pieces.clear()
        self._samples = 0
        self._end = self._now()
        self._paused_at = None

    def close(self) -> None:
        """No more."""
        self._off()


class Speaker:
    """Plays a publisher's frames on the line that there is, after what is queued there already.

    Args:
        form: what its frames are.
        line: the line of the moment, None while there is none.
        max_waiting_s: how much may wait.

    A frame that can't be played any more, because of a flood or of a line that closes, is dropped and counted.
    """

    def __init__(
        self, form: AudioFormat, line: Callable[[], Line | None], *, max_waiting_s: float = MAX_WAITING_S
    ) -> None:
        self.form = form
        self.stats = SpeakerStats()
        self._line = line
        self._max_waiting_s = max_waiting_s
        self._loop = asyncio.get_running_loop()
        self._lateness = Lateness()
        self._catch_up = CatchUp()
        self._timer: asyncio.TimerHandle | None = None
        self._on: Line | None = None
        self._waiting: Waiting | None = None
        self._decoder: FrameDecoder | None = None
        self._closed = False

    @property
    def full(self) -> bool:
        """Whether as much waits as may: a transport need not read on before some of it is heard."""
        return self._waiting is not None and self._waiting.own_s >= self._max_waiting_s

    def push(self, frame: SoundFrame) -> None:
        """Play a frame, sooner or later or not at all.

        Raises:
            CodecError: it is no frame of the format.
        """
        if self._closed:
            return
        try:
            for each in self._lateness.push(frame, self._loop.time()):
                self._play(each)
        finally:
            self.stats.late = self._lateness.late + self._catch_up.skipped
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        deadline = self._lateness.deadline
        self._timer = None if deadline is None else self._loop.call_at(deadline + 0.001, self._expire)

    def _expire(self) -> None:
        for each in self._lateness.expire(self._loop.time()):
            try:
                self._play(each)
            except MediaError:  # a frame that is none: its publisher is told by the next one
                self.stats.dropped += 1
        self._set_timer()

    def _play(self, frame: SoundFrame) -> None:
        line = self._line()
        if line is None or line.closed.done():
            self.stats.dropped += 1
            return
        if line is not self._on:
            self._move(line)
        assert self._waiting is not None
        assert self._decoder is not None
        if self._waiting.own_s >= self._max_waiting_s:
            self.stats.dropped += 1
            return
        pcm = self._decoder.decode(frame.payload)
        if not pcm:
            return
        sound_s = len(pcm) / 2 / line.rate
        if self._catch_up.skip(sound_s, self._waiting.ahead_s, self._loop.time()):
            return
        try:
            line.play(pcm)
        except (LineClosedError, MediaError):  # gone this moment, or ten minutes of others' sound wait
            self.stats.dropped += 1
            return
        self._waiting.add(len(pcm) // 2)
        self.stats.played += 1

    def _move(self, line: Line) -> None:
        if self._waiting is not None:
            self._waiting.close()
        self._on = line
        self._waiting = Waiting(line, self._loop.time)
        if self._decoder is None or self._decoder.rate != line.rate:
            self._decoder = FrameDecoder(self.form, line.rate)

    def close(self) -> None:
        """Take no more. What is queued is heard."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._waiting is not None:
            self._waiting.close()
