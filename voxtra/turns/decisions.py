"""What a :class:`~voxtra.turns.TurnMachine` decides."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

DropReason: TypeAlias = Literal["noise", "backchannel", "no_words", "echo", "stopped"]


@dataclass(slots=True, frozen=True)
class SpeechStarted:
    """The caller began to speak."""

    at: float


@dataclass(slots=True, frozen=True)
class SpeechPaused:
    """The caller paused; ask the recogniser for a final transcript."""

    at: float


@dataclass(slots=True, frozen=True)
class SpeechResumed:
    """The caller went on after a pause: the same turn."""

    at: float


@dataclass(slots=True, frozen=True)
class Duck:
    """Pause the agent's sound, keep it: somebody may be speaking."""


@dataclass(slots=True, frozen=True)
class Resume:
    """It was noise, or there is nothing left to hold back: go on with the agent's sound where it paused."""


@dataclass(slots=True, frozen=True)
class BargeIn:
    """The caller takes the floor: throw the agent's sound and reply away."""


@dataclass(slots=True, frozen=True)
class TurnExtended:
    """The silence that ends a turn has passed, and yet the words say that there is more to come.

    Attributes:
        silence_ms: how long it is waited for instead.
        why: what the words look like: ``unfinished``, ``digits 5 of 8``, ``letters``, ...
    """

    silence_ms: float
    why: str


@dataclass(slots=True, frozen=True)
class LikelyEnd:
    """The caller paused after what looks like all of it: a reply may be begun, unheard. At most one holds.

    What follows is TurnEnded with this very text, or LikelyEndWithdrawn.
    """

    text: str


@dataclass(slots=True, frozen=True)
class LikelyEndWithdrawn:
    """It was not all of it, or no turn at all."""


@dataclass(slots=True, frozen=True)
class TurnEnded:
    """The caller's turn is over.

    Attributes:
        text: what was said; "" only where keys were pressed and nothing said.
        started_at, speech_ended_at, decided_at: ms on the clock of the inputs.
        interrupted: True when the turn began as a barge-in.
        silence_ms: the silence that was wanted for its end.
        why: what made it more or less than the setting; "" when nothing did.
        keys: what was pressed, without the ``#`` that ended it.
    """

    text: str
    confidence: float
    started_at: float
    speech_ended_at: float
    decided_at: float
    interrupted: bool = False
    silence_ms: float = field(default=0.0, compare=False)
    why: str = field(default="", compare=False)
    keys: str = ""

    @property
    def told(self) -> str:
        """What was said and pressed, as a model is told of it."""
        return f"{self.text} {keyed(self.keys)}".strip()


def keyed(keys: str) -> str:
    """Pressed keys in words; "" for none."""
    return f"[keys pressed: {keys}]" if keys else ""


@dataclass(slots=True, frozen=True)
class TurnDropped:
    """What began as a turn was none.

    Attributes:
        reason: ``noise`` (shorter than ``min_speech_ms``), ``backchannel`` (shorter than
            ``response_min_speech_ms``, or "mhm" over the agent), ``no_words``, ``echo`` (the agent's own
            words), ``stopped`` (by :meth:`TurnMachine.stop`).
        interrupted: True when the agent was cut off for it: no turn will come of that, so somebody
            must take the floor again.
    """

    reason: DropReason
    interrupted: bool = False


Decision: TypeAlias = (
    SpeechStarted
    | SpeechPaused
    | SpeechResumed
    | Duck
    | Resume
    | BargeIn
    | TurnExtended
    | LikelyEnd
    | LikelyEndWithdrawn
    | TurnEnded
    | TurnDropped
)
