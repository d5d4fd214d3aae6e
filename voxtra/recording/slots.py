"""Where the caller's frames belong on the recording's axis: media time from arrivals. Pure, no clock.

The axis is counted in slots of 20 ms since the recording began. Frames follow each other without a hole as
long as they come at the pace they should, however unevenly: a delay that is made up for by a burst is no
gap. Slots that never came (no sound is sent while nothing is said, a packet was lost) show as a lag that
stays; it is told from a delay by the smallest lag seen over ``SETTLE_S``, and becomes silence.
"""

from __future__ import annotations

from voxtra.media.line import FRAME_MS

SLOT_S = FRAME_MS / 1000
SETTLE_S = 0.4
"""How long a lag must stay to be a gap: a burst after a delay is over by then."""
_GAP = 0.75
"""Slots of lag from which a gap is suspected."""
_SLEW = 0.001
"""Slots a frame by which the usual lag may grow: clocks drift, gaps jump."""
_MAX_PENDING = 1500
"""Frames (30 s) that may wait for a decision; a longer delay is taken for a gap."""


class SlotClock:
    """Gives each frame its slot.

    Args:
        start: time of slot 0, s.
    """

    def __init__(self, start: float) -> None:
        self._start = start
        self._shift = 0.0
        """Slots that media time is ahead of the wall clock (the two clocks' drift)."""
        self._usual = 0.0
        """Lag in slots of a frame that is on time, -1 to 1."""
        self._next = 0
        self._pending: list[bytes] = []
        self._pending_since = 0.0
        self._least = 0.0

    @property
    def next(self) -> int:
        """The slot after the last frame that was placed."""
        return self._next

    def at(self, time: float) -> float:
        """A moment of the loop's clock (s), as slots since the start."""
        return (time - self._start) / SLOT_S + self._shift

    def place(self, time: float, pcm: bytes) -> list[tuple[int, bytes]]:
        """A frame came in at ``time``. Returns the frames whose slot is certain now, in order."""
        # It holds the 20 ms before it came, hence - 1.
        lag = self.at(time) - 1 - self._next - len(self._pending)
        if not self._pending:
            if lag - self._usual < _GAP:
                self._track(lag)
                self._next += 1
                return [(self._next - 1, pcm)]
            self._pending_since = time
            self._least = lag
        self._pending.append(pcm)
        self._least = min(self._least, lag)
        if self._least - self._usual < _GAP:
            return self.settle()
        if time - self._pending_since >= SETTLE_S or len(self._pending) >= _MAX_PENDING:
            return self.settle()
        return []

    def settle(self) -> list[tuple[int, bytes]]:
        """Decide on what is pending by what is known now."""
        if not self._pending:
            return []
        gap = self._least - self._usual
        slots = round(gap) if gap >= _GAP else 0
        first = self._next + slots
        placed = [(first + index, pcm) for index, pcm in enumerate(self._pending)]
        self._next = first + len(placed)
        self._pending = []
        if slots:
            self._usual = self._least - slots
            self._bound()
        else:
            self._track(self._least)
        return placed

    def overdue(self, time: float) -> bool:
        """True when frames wait for a decision that no further frame brought."""
        return bool(self._pending) and time - self._pending_since >= SETTLE_S

    def _track(self, lag: float) -> None:
        """Follow the smallest lag: at once when it falls, slowly when it grows."""
        self._usual = min(lag, self._usual + _SLEW)
        self._bound()

    def _bound(self) -> None:
        excess = self._usual - max(-1.0, min(1.0, self._usual))
        if excess:
            self._shift -= excess
            self._usual -= excess
