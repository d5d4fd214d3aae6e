"""Two lanes of sound laid out by media time, from what a line tells and what Asterisk recorded. Pure.

Nothing here has a clock or a file: every call is told the time, and gives what is to be written.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from voxtra.media.line import FRAME_MS
from voxtra.recording.heard import HeardTrack
from voxtra.recording.slots import SlotClock
from voxtra.recording.spans import Spans, silenced
from voxtra.recording.tape import LEFT, RIGHT, Tape, Write

KEEP_S = 2.0
"""Sound kept in memory, since a flush or a late frame may still change it (on disk it can be changed too)."""
MAX_KEEP_S = 10.0
RETURN_SLOTS = 5
"""How long (100 ms) the caller's sound is still taken from Asterisk after a return: the line's is on its way."""


class StereoAxis:
    """Where every sample of a recording belongs.

    Positions count samples since the beginning. What lies in a pause (``muted``) is silent whoever brings it;
    what lies in a stretch elsewhere (``away``) comes from :meth:`lay`, all else from the line.

    Args:
        rate: Hz.
        start: time of the first sample, s of the clock that all times are of.
    """

    def __init__(self, rate: int, start: float) -> None:
        self.rate = rate
        self.frame = rate * FRAME_MS // 1000
        self.clock = SlotClock(start)
        self.tape = Tape(rate)
        self.muted = Spans()
        self.away = (Spans(), Spans())
        """Of each lane, what is not the line's."""

    # -- time

    def ms(self, time: float) -> float:
        """A moment as ms of media time."""
        return max(0.0, self.clock.at(time) * FRAME_MS)

    def at(self, time: float) -> int:
        """A moment as a position; before the beginning it is negative."""
        # Less a rounding error: a moment that is a sample's beginning belongs to it.
        return ceil(self.clock.at(time) * self.frame - 1e-3)

    def slot(self, time: float) -> int:
        """The first slot that is still to come at ``time``."""
        return max(0, ceil(self.clock.at(time) - 1e-6))

    def _floor(self, time: float) -> int:
        """Beginning of the slot that ``time`` is in."""
        return max(0, int(self.clock.at(time) + 1e-6)) * self.frame

    # -- what happens

    def mute(self, time: float) -> None:
        """A pause begins."""
        self.muted.begin(self._floor(time))

    def unmute(self, time: float) -> None:
        """The pause ends."""
        self.muted.end(self.slot(time) * self.frame)

    def depart(self, time: float) -> None:
        """From now on the call's sound is elsewhere."""
        for spans in self.away:
            if not spans.is_open:
                spans.begin(self._floor(time))

    def back(self, time: float, lanes: tuple[int, ...] = (LEFT, RIGHT)) -> None:
        """It is the line's again."""
        slot = self.slot(time)
        for lane in lanes:
            self.away[lane].end((slot + (RETURN_SLOTS if lane == LEFT else 0)) * self.frame)

    # -- sound

    def hear(self, time: float, pcm: bytes) -> None:
        """A frame of the caller's came in at ``time``."""
        # Silenced by arrival here and by place below: what a pause is to hide comes through neither way.
        if self.muted.is_open:
            pcm = bytes(len(pcm))
        for slot, placed in self.clock.place(time, pcm):
            self._put(LEFT, slot * self.frame, placed)

    def settle(self) -> None:
        """Place the caller's frames whose slot is still open by what is known now."""
        for slot, pcm in self.clock.settle():
            self._put(LEFT, slot * self.frame, pcm)

    def follow(self, heard: int, queued: int, paused: bool, now: Callable[[], float]) -> HeardTrack:
        """What the far end hears of a line from now on; the arguments are the line's, and its clock."""
        first = self.slot(now())

        def put(at: int, pcm: bytes) -> None:
            self._put(RIGHT, at, pcm)

        def slot() -> int:
            return self.slot(now())

        return HeardTrack(
            slot, self.frame, put, self._erase, heard=heard, queued=queued, paused=paused, first=first
        )

    def _put(self, lane: int, at: int, pcm: bytes) -> None:
        end = at + (len(pcm) >> 1)
        for spans in (self.muted, self.away[lane]):
            if spans:
                pcm = silenced(pcm, at, spans.within(at, end))
        self.tape.put(lane, at, pcm)

    def _erase(self, at: int, samples: int) -> None:
        for first, last in self._outside(at, at + samples):
            self.tape.erase(RIGHT, first, last - first)

    def _outside(self, first: int, last: int) -> list[tuple[int, int]]:
        """What of a stretch is the line's."""
        found = []
        for since, until in self.away[RIGHT].within(first, last):
            if since > first:
                found.append((first, since))
            first = until
        return [*found, (first, last)] if first < last else found

    def lay(self, lane: int, at: int, pcm: bytes) -> None:
        """Sound that Asterisk recorded of a lane from position ``at`` on; only what was elsewhere is taken."""
        if at < 0:
            pcm, at = pcm[-at * 2 :], 0
        for first, last in self.away[lane].within(at, at + (len(pcm) >> 1)):
            part = pcm[(first - at) * 2 : (last - at) * 2]
            self.tape.put(lane, first, silenced(part, first, self.muted.within(first, last)))

    # -- what is to be written

    def crowded(self) -> bool:
        """True when more is in memory than should be."""
        return self.tape.end - self.tape.base > MAX_KEEP_S * self.rate

    def hand_on(self, until: int) -> list[Write]:
        """Everything before position ``until``, and what is to be mended before that."""
        return self.tape.hand_on(max(until, self.tape.base))
