"""End of turn by sound: what a model says that heard how it was said, joined with what the words say.

A voice that stays up, or stops short, promises more, whatever the words are; a model that was trained for it hears
that (:class:`voxtra.speech.base.EndOfTurnModel`). No I/O, no clock.
"""

from __future__ import annotations

from voxtra.turns.endpoint import Endpoint

UNFINISHED = 0.3
"""Up to this probability of having finished, somebody is taken to go on. Such models answer little between 0.2
and 0.8, so it hardly matters where exactly."""
FINISHED = 0.95
"""From this probability on the silence may be shorter."""
SOUNDS_UNFINISHED_MS = 1200.0
"""Silence after what sounds unfinished: less than for words that are, as sounds are the weaker witness."""
SOUNDS_FINISHED = 0.7
"""What is left of the silence that ends a turn, where sound and words both say that it is over."""


def by_sound(probability: float, threshold_ms: float) -> Endpoint | None:
    """What silence should end the turn by its sound; None = as set.

    Args:
        probability: that the speaker has finished.
        threshold_ms: the silence that is set.
    """
    if probability <= UNFINISHED:
        return Endpoint(max(SOUNDS_UNFINISHED_MS, threshold_ms), "sounds unfinished")
    if probability >= FINISHED:
        return Endpoint(threshold_ms * SOUNDS_FINISHED, "sounds finished")
    return None


def joined(words: Endpoint | None, sound: Endpoint | None, threshold_ms: float) -> Endpoint | None:
    """Both witnesses: words that are unfinished, or answer what was asked, are believed before the sound."""
    if sound is None or words is None:
        return words or sound
    if words.silence_ms == threshold_ms:
        return sound
    return sound if sound.silence_ms > words.silence_ms > threshold_ms else words
