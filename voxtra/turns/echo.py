"""Echo: is it the caller who speaks, or the agent's own sound that comes back? No I/O, no clock of its own.

Telephones return part of what they play, 6 to 40 dB weaker and 40 to 300 ms later. :class:`EchoGuard` knows
the level of each 20 ms that was sent and received, and from these three things:

- **how loud echo can be**: where the agent was heard and the line stayed quiet, nothing louder is echo;
- **the coupling**: where the loudness of what comes in follows that of what went out (a correlation from
  0.87 up, while two people who speak at once rarely reach 0.8), their distance in dB and in time are gain
  and delay;
- **the shape**: loudness that does not follow is not echo, whatever its level.

What can be echo counts as silence; so the agent does not interrupt itself, and a caller still can: by being
louder than the echo, by speaking into the agent's pauses, and, after the first such sound, into the pause
that a Duck makes.
Levels are dB relative to full scale, RMS of a frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtra.turns.endpoint import plain

FRAME_MS = 20
SILENT = -80.0
"""Level of a frame without sound."""
AUDIBLE = -50.0
"""Sent frames below this level leave no echo to speak of."""
SPEECH = 0.5
"""Probability from which a frame may be speech; of others nothing is asked."""
DELAYS = 25
"""The longest delay looked for, frames (500 ms)."""
WINDOW = 50
"""Frames that are compared at a time (1 s), as far as there are so many."""
SHORTEST = 30
"""Fewer frames than this are not compared."""
EVERY = 12
"""Comparisons are this many frames apart."""
FOLLOWS = 0.85
"""Correlation from which what comes in follows what went out."""
STRANGE = 0.6
"""Correlation below which it does not."""
STRONGEST = -3.0
"""Echo is weaker than this, dB, before anything is known of a line."""
MARGIN = 6.0
"""So much louder than the echo, dB, a frame must be to be no echo."""
DECAY = 1.0
"""How fast echo dies away, dB a frame."""
FAINT = -55.0
"""Nobody speaks as softly as this over the agent."""
LOUDER = 3
"""On a line with echo: of the last 8 frames so many must be louder than it, for a stray one is nobody."""
BACKGROUND = 12.0
"""So much louder than the softest quarter of what is heard beside the agent, dB, somebody at the phone is:
voices in the background rarely are."""
CLEAN = -35.0
"""A line that returns less than this has no echo worth thinking of."""

Levels = NDArray[np.float64]

_AGE = np.arange(WINDOW + DELAYS - 1, -1, -1)
_DYING = [np.maximum(0, _AGE - reach - 3) * DECAY for reach in (DELAYS, *range(1, DELAYS + 1))]
"""How much of a frame's echo has died away by now, dB, newest last: by the delay; the first for any delay."""


@dataclass(slots=True, frozen=True)
class Coupling:
    """How a line returns what is played on it.

    Attributes:
        gain_db: level of the echo relative to what was sent.
        delay_ms: its delay; from the moment when the sound was to be played.
    """

    gain_db: float
    delay_ms: int


class _Ring:
    """The newest levels, always in one piece: each is written twice."""

    __slots__ = ("_at", "_levels", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._levels: Levels = np.full(2 * size, SILENT)
        self._at = 0

    def append(self, level: float) -> None:
        at = self._at
        self._levels[at] = self._levels[at + self._size] = level
        self._at = at + 1 if at + 1 < self._size else 0

    @property
    def newest(self) -> Levels:
        """All of them, newest last. A view: it changes with the next one."""
        return self._levels[self._at : self._at + self._size]


class EchoGuard:
    """What one line returns of the agent's sound.

    Attributes:
        coupling: what was learned; None where no echo was found (yet).
        suppressed: frames of speech that were taken for echo so far.
    """

    def __init__(self) -> None:
        self.coupling: Coupling | None = None
        self.suppressed = 0
        self._queue: deque[float] = deque()
        self._paused = False
        self._clock: float | None = None
        self._sent = _Ring(WINDOW + DELAYS)
        self._received = _Ring(WINDOW)
        self._audible_ago = WINDOW + DELAYS  # frames since the agent's sound was last sent
        self._stretch = 0  # frames since the agent's sound began
        self._since = 0  # frames since the last comparison
        self._quietest = STRONGEST  # most that the line can return, dB, by what it did not return
        self._known = False  # something was learned of the line
        self._delay = 0
        self._misses = 0
        self._strange = False
        self._beside = _Ring(4 * WINDOW)  # what was received while the agent was heard
        self._beside_count = 0
        self._background = SILENT
        self._louder: deque[bool] = deque([False] * 8, 8)

    @property
    def beside_agent(self) -> bool:
        """True while the agent is heard, and for as long afterwards as its echo may last."""
        return self._audible_ago <= DELAYS

    # ---- what is sent

    def played(self, levels: Iterable[float]) -> None:
        """These frames were queued to be played."""
        self._queue.extend(levels)

    def paused(self) -> None:
        """Playing stops."""
        self._paused = True

    def resumed(self) -> None:
        """Playing goes on."""
        self._paused = False

    def flushed(self) -> None:
        """What was queued is gone; a pause is over."""
        self._queue.clear()
        self._paused = False

    # ---- what is received

    def hear(self, probability: float, level: float, now: float) -> float:
        """A frame that was received.

        Args:
            probability: of speech, as the detector says.
            level: of the frame, dB.
            now: ms, monotonic.

        Returns:
            ``probability``, or 0.0 when it may be the agent's echo.
        """
        self._step(now)
        self._received.append(level if level > SILENT else SILENT)
        if self._audible_ago > DELAYS:
            return probability
        self._hear_beside(level)
        self._since += 1
        if self._since >= EVERY:
            self._since = 0
            self._compare()
        if probability < SPEECH:
            self._louder.append(False)
            return probability
        if self._is_caller(level):
            return probability
        self.suppressed += 1
        return 0.0

    def _is_caller(self, level: float) -> bool:
        louder = level > max(FAINT, self._loudest_echo())
        self._louder.append(louder)
        if self.coupling is None and level < self._background + BACKGROUND:
            return False
        if self._strange:
            return level > FAINT
        return louder and (self.coupling is None or sum(self._louder) >= LOUDER)

    def _step(self, now: float) -> None:
        """Time goes on by a frame; by more where frames did not come, and so no echo either."""
        if self._clock is None:
            self._clock = now
        self._clock += FRAME_MS
        late = now - self._clock
        if late > 3 * FRAME_MS:
            for _ in range(min(int(late / FRAME_MS), WINDOW + DELAYS)):
                self._send()
                self._received.append(SILENT)
                self._hear_beside(SILENT)
            self._clock = now
            self._since = EVERY
        self._send()

    def _hear_beside(self, level: float) -> None:
        if self._audible_ago <= DELAYS:
            self._beside.append(level)
            self._beside_count += 1

    def _send(self) -> None:
        level = SILENT if self._paused or not self._queue else self._queue.popleft()
        self._sent.append(level)
        if level > AUDIBLE:
            self._stretch = self._stretch + 1 if self._audible_ago < DELAYS else 1
            self._audible_ago = 0
        else:
            self._stretch += 1
            self._audible_ago += 1

    def _loudest_echo(self) -> float:
        """Above this level it can't be echo."""
        sent = self._sent.newest
        if self.coupling is None:
            gain = self._quietest + (MARGIN if self._known else 0.0)
            return float((sent - _DYING[0]).max()) + gain
        newest = len(sent) - max(0, self._delay - 3)
        return float((sent[:newest] - _DYING[self._delay][-newest:]).max()) + self.coupling.gain_db + MARGIN

    # ---- learning

    def _compare(self) -> None:
        frames = min(WINDOW, self._stretch)
        if frames < SHORTEST:
            self._strange = False
            return
        sent = self._sent.newest[-frames - DELAYS :]
        received = self._received.newest[-frames:]
        audible = int((sent[DELAYS // 2 :] > AUDIBLE).sum())
        if audible < frames // 3:
            self._strange = False
            return
        beside = sorted(self._beside.newest[-self._beside_count :].tolist())
        self._background = beside[len(beside) // 4]
        # A steady noise is no echo: what is not above it is taken for silence.
        soft, loud = beside[len(beside) // 10], float(received.max())
        noise = max(SILENT + 5, min(soft + 6, loud - 20))
        active = int((received > noise).sum()) if loud - soft > 10 else 0
        self._bound(sent, received)
        self._strange = False
        if active < frames // 4:
            self._quiet(sent, noise)
            return
        follows, delay = _likeness(sent, received, frames, noise)
        if follows >= FOLLOWS:
            self._learn(sent, received, frames, delay)
        elif follows < STRANGE:
            self._strange = True

    def _bound(self, sent: Levels, received: Levels) -> None:
        """What comes back altogether is the most that may be echo."""
        ratio = _power(received) - _power(sent[DELAYS // 2 :])
        self._quietest = min(ratio, self._quietest + 0.1) if self._known else min(ratio, STRONGEST)
        self._known = True

    def _quiet(self, sent: Levels, noise: float) -> None:
        """The agent was heard, and nothing came back: what was learned may be over."""
        if self.coupling is None or _power(sent) + self.coupling.gain_db < noise + 3:
            return
        self._misses += 1
        if self._misses >= 3:
            self.coupling = None

    def _learn(self, sent: Levels, received: Levels, frames: int, delay: int) -> None:
        moved = sent[DELAYS - delay : DELAYS - delay + frames]
        loud = moved > max(AUDIBLE, float(moved.max()) - 15)
        gain = min(float(np.median((received - moved)[loud])), 0.0)
        if self.coupling is not None and abs(delay - self._delay) <= 2:
            gain = 0.7 * self.coupling.gain_db + 0.3 * gain
        self._delay = delay
        self._misses = 0
        self.coupling = Coupling(gain, delay * FRAME_MS)

    # ---- words

    @property
    def clean(self) -> bool:
        """Whether the line is known to return nothing worth speaking of."""
        return self._known and self.coupling is None and self._quietest < CLEAN

    def is_own(self, text: str, said: str) -> bool:
        """Whether a transcript is the agent's own words come back.

        Args:
            text: the transcript of what began over the agent, or right after it.
            said: what the agent said last.
        """
        if self.clean:
            return False
        least = 2 if self.coupling is not None else 4
        return overlap(plain(text), plain(said)[-80:], least=least) >= 0.75


def overlap(words: list[str], said: list[str], *, least: int) -> float:
    """The share of ``words`` that stand in ``said``, in order and at least two together; 0 of too few."""
    if len(words) < least:
        return 0.0
    blocks = SequenceMatcher(None, said, words, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks if block.size >= 2) / len(words)


def _power(levels: Levels) -> float:
    """The level of all frames together, dB."""
    return float(10 * np.log10(np.mean(10 ** (levels / 10))))


def _likeness(sent: Levels, received: Levels, frames: int, noise: float) -> tuple[float, int]:
    """The best correlation of the loudness in both directions, and the delay in frames where it is."""
    low = max(float(sent.max()) - 35, SILENT + 10)
    windows: NDArray[Any] = np.lib.stride_tricks.sliding_window_view(np.maximum(sent, low), frames)
    heard = np.maximum(received, max(noise, float(received.max()) - 35))
    windows = windows - windows.mean(axis=1, keepdims=True)
    heard = heard - heard.mean()
    norms = np.sqrt((windows * windows).sum(axis=1) * (heard * heard).sum())
    found = (windows @ heard) / np.maximum(norms, 1e-6)
    best = int(found.argmax())
    return float(found[best]), DELAYS - best


def levels_of(pcm: bytes, frame_bytes: int) -> list[float]:
    """Levels of whole frames of 16-bit PCM, dB."""
    samples = np.frombuffer(pcm, "<i2", len(pcm) // frame_bytes * frame_bytes // 2).astype(np.float32)
    power = np.square(samples.reshape(-1, frame_bytes // 2)).mean(axis=1)
    levels: list[float] = np.maximum(10 * np.log10(power / 32768**2 + 1e-10), SILENT).tolist()
    return levels
