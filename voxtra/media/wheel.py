"""Which frames are due: the schedule of the 20 ms clock, with a phase for each line. No I/O and no clock.

The 20 ms are a wheel of four slots, 5 ms each. A line has its place in one slot and is due each time the wheel comes
by, so its frames are 20 ms apart. A line that was silent and has something to say need not wait for its slot: it is
*hastened*, up to ``MAX_LEAD`` slots before its time, and keeps that lead while it speaks. When it has nothing to say
any more, the lead is given back by one longer interval. So it is never more than the lead off its schedule, however
often it begins, and no frame follows another within less than half a period.

All lines that are on time are in one slot, as it costs least to serve them together; more slots than four cost more
and gain nothing, as what is hastened past its earliest time goes at once and not at the slot's beginning.

The schedule is absolute (slot *n* is due at ``start + n · 5 ms``), so lateness never adds up. What was missed while
the program was held up is made up for at once, at most ``MAX_CATCH_UP`` frames a line: the far end's jitter buffer
rides over that. What is beyond is skipped and counted: a burst of a second of sound helps nobody.
"""

from __future__ import annotations

from collections.abc import Callable

from voxtra.media.line import FRAME_MS

SLOT_S = 0.005
SLOTS = FRAME_MS // 5
"""Slots in a period of 20 ms."""
MAX_LEAD = SLOTS // 2
"""Most that a line may be before its time, in slots: 10 ms."""
MAX_CATCH_UP = 5
"""Frames of a line that are made up for after a stall (100 ms)."""


class Beat:
    """A line's place on the wheel.

    Attributes:
        tick: called when a frame is due.
        due: the slot of its next frame, counted from the wheel's start.
        lead: how many slots that is before its time.
        made: the slot in which its latest frame really went.
        live: False once it has left.
    """

    __slots__ = ("due", "lead", "live", "made", "tick")

    def __init__(self, tick: Callable[[], None]) -> None:
        self.tick = tick
        self.due = 0
        self.lead = 0
        self.made = 0
        self.live = False


class Wheel:
    """All lines' places. Times (s) and beats go in, beats that are due come out."""

    __slots__ = ("_slots", "_start", "_turned", "skipped")

    def __init__(self, now: float) -> None:
        self._start = now
        self._turned = 0
        self._slots: list[dict[Beat, None]] = [{} for _ in range(SLOTS)]
        self.skipped = 0
        """Periods in which no frame was made."""

    def __len__(self) -> int:
        return sum(map(len, self._slots))

    def _slot(self, now: float) -> int:
        # A microsecond of tolerance: a timer may fire a rounding error early.
        return int((now - self._start + 1e-6) / SLOT_S)

    @property
    def next(self) -> float | None:
        """When there may be something to do; None while nobody is here."""
        for slot in range(self._turned + 1, self._turned + 1 + SLOTS):
            if self._slots[slot % SLOTS]:
                return self._start + slot * SLOT_S
        return None

    def join(self, beat: Beat, now: float) -> None:
        """Due each 20 ms from now on, for the first time in 10 to 25 ms, in the slot of all that are on time."""
        beat.made = self._slot(now)
        soonest = beat.made + SLOTS - MAX_LEAD
        beat.due = soonest + -soonest % SLOTS  # the next multiple of SLOTS
        beat.lead = 0
        beat.live = True
        self._slots[beat.due % SLOTS][beat] = None

    def leave(self, beat: Beat) -> None:
        """Not due any more, not even where ``take`` has named it already."""
        beat.live = False
        self._slots[beat.due % SLOTS].pop(beat, None)

    def take(self, now: float) -> list[Beat]:
        """The beats of the next slot that is due, in the order they came to it; none when no slot is.

        To be called until it gives none: a beat that is behind comes more than once.
        """
        current = self._slot(now)
        oldest = current - MAX_CATCH_UP * SLOTS
        if self._turned < oldest:
            self.skipped += (oldest - self._turned - 1) // SLOTS + 1
            self._turned = oldest
        while self._turned < current:
            self._turned = slot = self._turned + 1
            # Who came to the slot after its time, or was in it already when it was turned back, is not due yet.
            due = [beat for beat in self._slots[slot % SLOTS] if beat.due <= slot]
            if due:
                following = slot + SLOTS
                for beat in due:
                    beat.due = following
                    beat.made = current
                return due
        return []

    def hasten(self, beat: Beat, now: float) -> bool:
        """Make the next frame due as soon as may be. False: it comes no sooner than it does already."""
        nominal = beat.due + beat.lead
        due = max(self._slot(now), nominal - MAX_LEAD, beat.made + SLOTS - MAX_LEAD)
        if due >= beat.due:
            return False
        self._move(beat, due)
        beat.lead = nominal - due
        self._turned = min(self._turned, due - 1)
        return True

    def ease(self, beat: Beat) -> bool:
        """Give the lead back. To be called from the beat's tick, which then makes no frame; it is called again
        when the frame's time has come. False: there is no lead, the frame is due now."""
        if not beat.lead:
            return False
        self._move(beat, beat.due - SLOTS + beat.lead)
        beat.made -= SLOTS
        beat.lead = 0
        return True

    def _move(self, beat: Beat, due: int) -> None:
        del self._slots[beat.due % SLOTS][beat]
        beat.due = due
        self._slots[due % SLOTS][beat] = None
