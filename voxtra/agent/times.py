"""Where the wait of one turn went: end of the caller's speech to the agent's first sound."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Self

from voxtra.turns import TurnEnded


@dataclass(slots=True)
class TurnTimes:
    """Moments of one turn in ms on the monotonic clock; 0 = did not happen (yet)."""

    speech_ended_at: float = 0.0
    decided_at: float = 0.0
    silence_ms: float = 0.0
    """The silence threshold: the part of the wait for end of turn that is policy."""
    llm_started_at: float = 0.0
    llm_first_at: float = 0.0
    llm_done_at: float = 0.0
    tts_started_at: float = 0.0
    tts_first_at: float = 0.0
    played_at: float = 0.0

    @classmethod
    def after(cls, turn: TurnEnded) -> Self:
        """Those of the answer to a turn."""
        return cls(
            speech_ended_at=turn.speech_ended_at, decided_at=turn.decided_at, silence_ms=turn.silence_ms
        )

    @staticmethod
    def now() -> float:
        """ms on the event loop's clock, as all times of a turn: it may be one that jumps, in a test."""
        return asyncio.get_running_loop().time() * 1000

    def llm_started(self) -> None:
        """The request is about to be written."""
        self.llm_started_at = self.now()

    def llm_first(self) -> None:
        """The first token came."""
        self.llm_first_at = self.llm_first_at or self.now()

    def llm_done(self) -> None:
        """The reply is complete."""
        self.llm_done_at = self.now()

    def tts_started(self) -> None:
        """The first clause goes to the TTS."""
        self.tts_started_at = self.tts_started_at or self.now()

    def tts_first(self) -> None:
        """The first speech came back."""
        self.tts_first_at = self.tts_first_at or self.now()

    def played(self) -> None:
        """The first sound went to the line."""
        self.played_at = self.played_at or self.now()

    def split(self) -> dict[str, float]:
        """The wait by its owner, in ms: ``endpointing, stt, llm, tts, framework, total``.

        ``stt`` is what the transcript added to the silence threshold; ``llm`` ends when the first clause
        could be spoken; ``framework`` is what no provider and no policy accounts for, the handler's own
        work included. Empty when the turn or the answer is missing.
        """
        if not (self.speech_ended_at and self.decided_at and self.played_at):
            return {}
        waited = self.decided_at - self.speech_ended_at
        clause_at = [at for at in (self.llm_done_at, self.tts_started_at) if at and at >= self.llm_started_at]
        parts = {
            "endpointing": min(self.silence_ms, waited),
            "stt": max(0.0, waited - self.silence_ms),
            "llm": self._between(self.llm_started_at, min(clause_at, default=self.llm_first_at)),
            "tts": self._between(self.tts_started_at, self.tts_first_at),
        }
        total = self.played_at - self.speech_ended_at
        parts["framework"] = max(0.0, total - sum(parts.values()))
        parts["total"] = total
        return {name: round(value, 1) for name, value in parts.items()}

    @staticmethod
    def _between(start: float, end: float) -> float:
        return max(0.0, end - start) if start and end else 0.0
