"""End of turn by sound: what a model says that heard how it was said, joined with what the words say.

A voice that stays up, or stops short, promises more, whatever the words are; a model that was trained for it hears
that (:class:`voxtra.speech.base.EndOfTurnModel`). No I/O, no clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from voxtra.turns.endpoint import Endpoint

SOUNDS_UNFINISHED_MS = 1200.0
"""Silence after what sounds unfinished: less than for words that are, as sounds are the weaker witness."""
SOUNDS_FINISHED = 0.7
"""What is left of the silence that ends a turn, where sound and words both say that it is over."""


@dataclass(slots=True, frozen=True)
class SoundRules:
    """What a probability of having finished means; models differ in that.

    Attributes:
        unfinished: up to this one somebody is taken to go on.
        shorten_from: from this one on the silence is shorter; None = it never is.
    """

    unfinished: float = 0.5
    shorten_from: float | None = None

    def __call__(self, probability: float, threshold_ms: float) -> Endpoint | None:
        """What silence should end the turn by its sound; None = as set.

        Args:
            probability: that the speaker has finished.
            threshold_ms: the silence that is set.
        """
        if probability <= self.unfinished:
            return Endpoint(max(SOUNDS_UNFINISHED_MS, threshold_ms), "sounds unfinished")
        if self.shorten_from is not None and probability >= self.shorten_from:
            return Endpoint(threshold_ms * SOUNDS_FINISHED, "sounds finished")
        return None


def joined(words: Endpoint | None, sound: Endpoint | None, threshold_ms: float) -> Endpoint | None:
    """Both witnesses: words that are unfinished, or answer what was asked, are believed before the sound."""
    if sound is None or words is None:
        return words or sound
    if words.silence_ms == threshold_ms:
        return sound
    return sound if sound.silence_ms > words.silence_ms > threshold_ms else words
