"""Live sound that has fallen behind catches up: some of it is skipped. No I/O, no clock of its own.

A network that hesitates leaves a queue behind that live sound, which never pauses, would keep for good. Live is
what comes evenly and no faster than it is spoken; speech that is sent ahead of its time waits by intention, and is
left alone.
"""

from __future__ import annotations

KEEP_S = 0.08
"""What may always wait: jitter, and what Asterisk holds, s."""
WINDOW_S = 1.0
"""Only what has waited all this time is too much, s."""
GAP_S = 0.25
"""Live sound has no longer pauses than this between two frames, s."""
PACE = 1.05
"""Live sound has no more of it than this in a second, s."""
FAR_S = 0.5
"""So far behind, everything is skipped until it has caught up; else one frame of four, s."""


class CatchUp:
    """Decides which of one publisher's frames to skip.

    Attributes:
        skipped: frames so far.
    """

    def __init__(self) -> None:
        self.skipped = 0
        self._began = 0.0
        self._last = float("-inf")
        self._sound_s = 0.0
        self._least_s = 0.0
        self._surplus_s = 0.0
        self._count = 0

    def skip(self, sound_s: float, waiting_s: float, now: float) -> bool:
        """Whether not to play a frame.

        Args:
            sound_s: how much sound it is.
            waiting_s: how much sound waits to be heard before it, whoever's.
            now: when it came, s.
        """
        if now - self._last > GAP_S:
            self._surplus_s = 0.0
            self._begin(waiting_s, now)
        elif now - self._began >= WINDOW_S:
            live = self._sound_s <= (now - self._began) * PACE
            self._surplus_s = max(0.0, self._least_s - KEEP_S) if live else 0.0
            self._begin(waiting_s, now)
        self._last = now
        self._sound_s += sound_s
        self._least_s = min(self._least_s, waiting_s)
        if waiting_s <= KEEP_S:
            self._surplus_s = 0.0
        if self._surplus_s <= 0:
            return False
        if self._surplus_s <= FAR_S:
            self._count += 1
            if self._count % 4:
                return False
            self._surplus_s -= sound_s
        self.skipped += 1
        return True

    def _begin(self, waiting_s: float, now: float) -> None:
        self._began = now
        self._sound_s = 0.0
        self._least_s = waiting_s
