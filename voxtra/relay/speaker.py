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
    """How much of one publisher's sound waits in a line that others speak on too. Observes the line."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._pieces: deque[tuple[int, int]] = deque()
        self._samples = 0
        self._off = line.observe(self)

    @property
    def seconds(self) -> float:
        """What was not heard yet, s."""
        while self._pieces and self._pieces[0][0] <= self._line.heard:
            self._samples -= self._pieces.popleft()[1]
        return self._samples / self._line.rate

    def add(self, samples: int) -> None:
        """So much of it has just been queued."""
        self._pieces.append((self._line.queued, samples))
        self._samples += samples

    def played(self, pcm: bytes) -> None:
        """Whoever's: of no concern here."""

    def paused(self) -> None:
        """Of no concern here."""

    def resumed(self) -> None:
        """Of no concern here."""

    def flushed(self, heard: int) -> None:
        """Nothing waits any more."""
        self._pieces.clear()
        self._samples = 0

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
        return self._waiting is not None and self._waiting.seconds >= self._max_waiting_s

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
        waiting = self._waiting.seconds
        if waiting >= self._max_waiting_s:
            self.stats.dropped += 1
            return
        pcm = self._decoder.decode(frame.payload)
        if not pcm:
            return
        sound_s = len(pcm) / 2 / line.rate
        if self._catch_up.skip(sound_s, waiting, self._loop.time()):
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
        self._waiting = Waiting(line)
        if self._decoder is None or self._decoder.rate != line.rate:
            self._decoder = FrameDecoder(self.form, line.rate)

    def close(self) -> None:
        """Take no more. What is queued is heard."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._waiting is not None:
            self._waiting.close()
