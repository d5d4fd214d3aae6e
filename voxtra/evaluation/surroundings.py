"""What a caller's telephone picks up beside the caller: what it plays itself, and voices in the background."""

from __future__ import annotations

from collections import deque

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

FRAME_BYTES = 320
"""20 ms of 16-bit mono PCM at 8 kHz."""
LATE = 3
"""So many frames of echo may wait for their turn; the oldest go, as in a loudspeaker's own buffer."""


class LineSpec(BaseModel):
    """What the caller's line is like: ``line:`` of a scenario.

    Attributes:
        echo_db: level of what the telephone returns of what it plays, relative to that, dB; None: nothing.
        echo_delay_ms: how much later that is.
        background: what somebody beside the caller says, over and over; "" is nobody.
        background_db: their level, relative to the caller's, dB.
        background_gap_s: how long they are silent between.
        background_from_s: when they begin, s after the answer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    echo_db: float | None = Field(default=None, ge=-60, le=-3)
    echo_delay_ms: int = Field(default=120, ge=20, le=400)
    background: str = ""
    background_db: float = Field(default=-20.0, ge=-60, le=0)
    background_gap_s: float = Field(default=0.6, ge=0, le=60)
    background_from_s: float = Field(default=0.0, ge=0, le=600)

    def __str__(self) -> str:
        echo = (
            f"Echo of {self.echo_db:g} dB after {self.echo_delay_ms} ms." if self.echo_db is not None else ""
        )
        voices = (
            f"Somebody else at {self.background_db:g} dB: {self.background}"
            if self.background.strip()
            else ""
        )
        return " ".join(filter(None, (echo, voices)))

    @property
    def quiet(self) -> bool:
        """Whether there is nothing but the caller."""
        return self.echo_db is None and not self.background.strip()


class Surroundings:
    """Sans-I/O: sound that was heard goes in, what the microphone picks up comes out, 20 ms at a time.

    Args:
        line: what the line is like.
        talk: the background's words as sound, at the caller's level: 16-bit mono PCM at 8 kHz.
    """

    def __init__(self, line: LineSpec, talk: bytes = b"") -> None:
        self._gain = 0.0 if line.echo_db is None else 10 ** (line.echo_db / 20)
        self._delay_s = line.echo_delay_ms / 1000
        self._returning: deque[tuple[float, bytes]] = deque(maxlen=50)
        pause = bytes(round(line.background_gap_s * 50) * FRAME_BYTES)
        whole = bytes(-len(talk) % FRAME_BYTES)
        self._talk = _louder(talk, 10 ** (line.background_db / 20)) + whole + pause if talk else b""
        self._at = 0
        self._frames = round(line.background_from_s * 50)

    def hear(self, pcm: bytes, now: float) -> None:
        """20 ms that the telephone plays from ``now`` (s) on."""
        if self._gain:
            self._returning.append((now + self._delay_s, pcm))

    def beside(self, now: float) -> bytes:
        """The next 20 ms of all but the caller."""
        return add(self._echo(now), self._voices())

    def _echo(self, now: float) -> bytes:
        due = [pcm for at, pcm in self._returning if at <= now + 0.001]
        for _ in range(len(due) - LATE if len(due) > LATE else 0):
            self._returning.popleft()
        if not due:
            return bytes(FRAME_BYTES)
        return _louder(self._returning.popleft()[1], self._gain)

    def _voices(self) -> bytes:
        self._frames -= 1
        if not self._talk or self._frames >= 0:
            return bytes(FRAME_BYTES)
        frame = self._talk[self._at : self._at + FRAME_BYTES]
        self._at = (self._at + FRAME_BYTES) % len(self._talk)
        return frame


def add(one: bytes, other: bytes) -> bytes:
    """Both at once."""
    if not any(one) or not any(other):
        return one if any(one) else other
    both = np.frombuffer(one, "<i2").astype(np.int32) + np.frombuffer(other, "<i2")
    return bytes(np.clip(both, -32768, 32767).astype("<i2").tobytes())


def _louder(pcm: bytes, gain: float) -> bytes:
    return bytes((np.frombuffer(pcm, "<i2") * gain).astype("<i2").tobytes())
