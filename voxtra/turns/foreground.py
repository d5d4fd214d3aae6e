"""Who is at the telephone, and who only talks in the same room? No I/O, no clock of its own.

A detector of speech takes both for speech; so, with a television or a colleague in the background, a turn never
ends, and what they say becomes the next one. :class:`Foreground` goes by loudness: somebody at the telephone reaches
about the same level a few times each second, and who stays far below it for longer is somebody else.

- **In a turn**: speech that goes on far below the caller's level for :data:`LATER` frames is silence.
- **After a pause**: only for a while after such voices were noticed; on other lines a soft "yes" is a "yes".

The caller's level is forgotten slowly while others are heard, so that who moves away from the telephone is not lost.
What is echo was sorted out before, by :class:`~voxtra.turns.echo.EchoGuard`.
"""

from __future__ import annotations

from collections import deque

SPEECH = 0.5
"""Probability from which a frame may be speech."""
FAR = 12.0
"""So far below the caller's level, dB, is somebody else."""
LATER = 15
"""Frames without the caller's own level, after which what is heard is not theirs: syllables come faster."""
SUSTAINED = 3
"""Frames in a row that a level must be reached in to be the caller's: a knock is shorter."""
FORGET = 0.5 / 50
"""How fast the caller's level is forgotten, dB a frame in which others speak and the agent does not."""
PAUSE = 20
"""Frames without any speech, after which it is not known who goes on."""
NOTICED = 500
"""Frames for which voices in the background are remembered after they were last heard (10 s)."""


class Foreground:
    """Tells one caller from voices in the background.

    Attributes:
        level: of the caller, dB relative to full scale; None before anybody spoke.
        suppressed: frames of speech that were taken for somebody else's.
    """

    def __init__(self) -> None:
        self.level: float | None = None
        self.suppressed = 0
        self._newest: deque[float] = deque(maxlen=SUSTAINED)
        self._since = 0  # frames since the caller was heard
        self._silent = PAUSE  # frames since anybody was
        self._unbroken = False  # the speech heard goes on since the caller's
        self._noticed = 0  # frames for which others are still expected

    def hear(self, probability: float, level: float, *, learn: bool = True) -> float:
        """A frame that was received.

        Args:
            probability: of speech, as the detector says.
            level: of the frame, dB relative to full scale.
            learn: whether it can be the caller's; over the agent it may be its echo.

        Returns:
            ``probability``, or 0.0 when it is somebody in the background.
        """
        self._noticed = max(0, self._noticed - 1)
        self._since += 1
        if probability < SPEECH:
            self._silent += 1
            self._newest.clear()
            return probability
        unbroken = self._silent < PAUSE and self._unbroken
        self._silent, self._unbroken = 0, unbroken
        self._newest.append(level)
        sustained = min(self._newest) if learn and len(self._newest) == SUSTAINED else None
        if self.level is None:
            self.level = sustained
            return probability
        if sustained is not None and sustained > self.level:
            self.level = sustained
        if level > self.level - FAR:
            self._since, self._unbroken = 0, True
            return probability
        if self._since < LATER or not (unbroken or self._noticed):
            return probability
        if learn:
            self.level -= FORGET
        self._noticed = NOTICED
        self.suppressed += 1
        return 0.0
