"""Late sound is dropped, never made up for. No I/O, no clock of its own.

A publisher's timestamps are of its own clock, which runs on through pauses. The first frame ties that clock to
ours; a frame that comes ``LATE_S`` after it is due was held up on the way (a stalled network that now delivers all
at once). Whether it was held up, or its publisher only counts what it sends and has paused, shows in what follows
within ``HOLD_S``: frames that are in time make those before them late; if there are none, the clock is tied anew and
nothing is lost. A publisher that sends ahead of its time is no live one (synthesised speech, a file): nothing of it is
ever late.
"""

from __future__ import annotations

from collections import deque

from voxtra.wire import SoundFrame

LATE_S = 0.5
"""A frame may come this much later than its time says, s: jitter."""
IN_TIME_S = 0.25
"""While frames wait, one that comes no later than this shows that they were held up, s."""
HOLD_S = 0.06
"""How long a late frame waits for one in time, s."""
AHEAD_S = 1.0
"""Sound that comes this much before its time was not being spoken when it was sent, s."""
MAX_HELD = 1_000
"""Frames that wait so at most."""


class Lateness:
    """Takes one publisher's frames, gives those to be heard now.

    Attributes:
        late: frames dropped.
    """

    def __init__(self) -> None:
        self.late = 0
        self._live = True
        self._offset_s: float | None = None
        self._held: deque[SoundFrame] = deque()
        self._held_at = 0.0

    @property
    def deadline(self) -> float | None:
        """When :meth:`expire` is to be called, if nothing comes before; None = need not."""
        return self._held_at + HOLD_S if self._held else None

    def push(self, frame: SoundFrame, now: float) -> list[SoundFrame]:
        """A frame has come at ``now`` (s). Returns what is to be heard, in order."""
        given = self.expire(now)
        media_s = frame.timestamp_us / 1e6
        if self._offset_s is None:
            self._offset_s = now - media_s
        lateness = now - media_s - self._offset_s
        self._live = self._live and lateness > -AHEAD_S
        if self._live and lateness > (IN_TIME_S if self._held else LATE_S):
            if not self._held:
                self._held_at = now
            elif len(self._held) == MAX_HELD:
                self._held.popleft()
                self.late += 1
            self._held.append(frame)
            return given
        if self._live:
            self.late += len(self._held)
        else:
            given += self._held
        self._held.clear()
        return [*given, frame]

    def expire(self, now: float) -> list[SoundFrame]:
        """Nothing in time has come: what waited is in time, by a clock tied anew. Returns it."""
        if not self._held or now < self._held_at + HOLD_S:
            return []
        given = list(self._held)
        self._held.clear()
        self._offset_s = self._held_at - given[0].timestamp_us / 1e6
        return given
