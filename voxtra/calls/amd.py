"""Did a person answer, or a machine? Decided from how long the first words last. No I/O.

People answer with a word or two and wait ("Hello?"); machines speak on. The rules are those of Asterisk's
AMD(): initial silence, length of the greeting, silence after it, and a least length of what is a word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Answerer: TypeAlias = Literal["human", "machine", "unsure"]

FRAME_MS = 20
GAP_MS = 60
"""A silence no longer than this is part of a word."""
_MACHINE_WORDS = (
    "leave a message",
    "after the tone",
    "after the beep",
    "voice mail",
    "voicemail",
    "not available",
    "can't come to the phone",
    "cannot come to the phone",
    "mailbox",
    "record your message",
)


@dataclass(slots=True, frozen=True)
class AnswerResult:
    """Who answered.

    Attributes:
        who: ``human``, ``machine`` or ``unsure``.
        delay_ms: from the answer to the decision.
        why: ``short_greeting``, ``long_greeting``, ``words``, ``silence``, ``timeout``, ``hangup``,
            or Asterisk's AMDCAUSE.
    """

    who: Answerer
    delay_ms: int
    why: str


class AnswerDetector:
    """One decision, from speech probabilities (20 ms each), words and time.

    Args:
        started_ms: when the call was answered, on the clock of the inputs.
        initial_silence_ms: nobody says anything for so long: a machine without greeting, or a mute line.
        greeting_ms: a first utterance longer than this is a machine's.
        after_greeting_ms: silence after a short one that makes it a person's.
        word_ms: what is shorter is no word: the click of a line that is answered.
        timeout_ms: then it is ``unsure``.
    """

    def __init__(
        self,
        started_ms: float,
        *,
        initial_silence_ms: float = 3500,
        greeting_ms: float = 1800,
        after_greeting_ms: float = 700,
        word_ms: float = 100,
        timeout_ms: float = 6000,
    ) -> None:
        self._started = started_ms
        self._initial = initial_silence_ms
        self._greeting = greeting_ms
        self._after = after_greeting_ms
        self._word = word_ms
        self._timeout = timeout_ms
        self._sound_at = self._sound_end = float("-inf")
        self._spoke_at: float | None = None
        self._last_voice = 0.0
        self.result: AnswerResult | None = None
        """The decision, once there is one."""

    def frame(self, probability: float, now_ms: float) -> AnswerResult | None:
        """20 ms with the probability of speech in them. Returns the decision when this makes it."""
        if self.result is not None:
            return self.result
        if probability >= 0.5 and self._is_word(now_ms):
            self._spoke_at = self._sound_at if self._spoke_at is None else self._spoke_at
            self._last_voice = now_ms
            if now_ms - self._spoke_at >= self._greeting:
                return self._decide("machine", "long_greeting", now_ms)
        return self.tick(now_ms)

    def _is_word(self, now_ms: float) -> bool:
        """Whether the sound that this frame belongs to has lasted long enough."""
        if now_ms - self._sound_end > GAP_MS:
            self._sound_at = now_ms
        self._sound_end = now_ms
        return now_ms - self._sound_at + FRAME_MS >= self._word

    def tick(self, now_ms: float, late_ms: float = 0) -> AnswerResult | None:
        """Time passes; ``late_ms``: what was said so short a time ago may not have come yet."""
        if self.result is not None:
            return self.result
        known_ms = now_ms - late_ms
        if self._spoke_at is None:
            if known_ms - self._started >= self._initial:
                return self._decide("unsure", "silence", now_ms)
        elif known_ms - self._last_voice >= self._after:
            return self._decide("human", "short_greeting", now_ms)
        if known_ms - self._started >= self._timeout:
            return self._decide("unsure", "timeout", now_ms)
        return None

    def words(self, text: str, now_ms: float) -> AnswerResult | None:
        """What was said so far, where a recogniser tells it."""
        if self.result is None and any(phrase in text.lower() for phrase in _MACHINE_WORDS):
            return self._decide("machine", "words", now_ms)
        return self.result

    def hang_up(self, now_ms: float) -> AnswerResult:
        """The call has ended before it was clear."""
        return self.result or self._decide("unsure", "hangup", now_ms)

    def _decide(self, who: Answerer, why: str, now_ms: float) -> AnswerResult:
        self.result = AnswerResult(who, round(now_ms - self._started), why)
        return self.result
