"""Sound that is text: what the fake caller and the fake voices say can be read off their samples.

Each character lasts 60 ms (a good pace of speech); its last sample is the character's UTF-16 unit, the others
hum. So text goes through queues, caches, pauses and flushes as sound does, and what was heard is known to the
character. PCM is 16-bit little-endian mono at 8 kHz, as everywhere.
"""

from __future__ import annotations

from array import array
from typing import NamedTuple

RATE = 8000
"""Hz."""
FRAME_BYTES = 320
"""20 ms."""
CHARACTER_MS = 60
"""Length of a character."""
SHORTEST_MS = 420
"""Nobody says "no" in 120 ms: shorter texts are drawn out."""

_CHARACTER = CHARACTER_MS * RATE // 1000
_HUM = 0xE000  # in Unicode's private area, as what follows: no text has it
_SURE = 0xE100  # + percent
_HUM_SAMPLE = _HUM.to_bytes(2, "little")
_HUM_FRAME = _HUM_SAMPLE * (FRAME_BYTES // 2)
_SILENCE = bytes(FRAME_BYTES)
_MOST = 8
"""Characters that a frame may hold; with more it is real sound."""


class Heard(NamedTuple):
    """What a stretch of sound holds.

    Attributes:
        voice: whether there is any sound.
        text: the characters that end in it.
        confidence: 0..1 where the speaker set it, None elsewhere.
    """

    voice: bool
    text: str
    confidence: float | None = None


def spoken(text: str, *, confidence: float | None = None, shortest_ms: int = 0) -> bytes:
    """``text`` as sound, whole frames, 60 ms a character.

    Args:
        confidence: 0..1, how sure the fake recogniser will be of it.
        shortest_ms: a shorter text is drawn out to this.
    """
    samples = array("H")
    if confidence is not None:
        samples.append(_SURE + round(confidence * 100))
    units = array("H", text.encode("utf-16-le", "surrogatepass"))
    for number, unit in enumerate(units):
        end = (number + 1) * _CHARACTER
        samples.extend([_HUM] * (end - 1 - len(samples)))
        samples.append(unit)
    missing = shortest_ms * RATE // 1000 - len(samples)
    # Before the last character, so that a word is never heard before its sound has ended.
    if missing > 0:
        samples[-1:-1] = array("H", [_HUM] * missing)
    return samples.tobytes()


def hum(seconds: float) -> bytes:
    """Sound without words: a cough, a passing car."""
    return _HUM_FRAME * max(1, round(seconds * 50))


def labelled(text: str, seconds: float) -> bytes:
    """A sound of a given length that begins by saying, very fast, what it is."""
    samples = array("H")
    for unit in array("H", text.encode("utf-16-le", "surrogatepass")):
        samples.extend([_HUM] * 39 + [unit])
    samples.extend([_HUM] * (round(seconds * RATE) - len(samples)))
    return samples.tobytes()


def read(pcm: bytes) -> Heard:
    """What a frame says."""
    if pcm == _SILENCE:
        return Heard(False, "")
    if pcm == _HUM_FRAME:
        return Heard(True, "")
    units = array("H", pcm)
    found = array("H", (unit for unit in units if unit and unit != _HUM))
    if not found:
        return Heard(_HUM in units, "")
    if len(found) > _MOST:
        return Heard(True, "")
    confidence = None
    if _SURE <= found[0] <= _SURE + 100:
        confidence = (found.pop(0) - _SURE) / 100
    return Heard(True, found.tobytes().decode("utf-16-le", "surrogatepass"), confidence)
