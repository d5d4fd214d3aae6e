"""Sound to measure with: something a VAD takes for a voice, and never silent."""

from __future__ import annotations

import numpy as np

from voxtra.media.codecs import ULaw

RATE = 8000
FRAME = 320
"""Bytes of 20 ms of PCM."""


def voice(seconds: float, *, pitch_hz: float = 140.0) -> bytes:
    """A buzz with the formants of a vowel, its loudness rising and falling like syllables: 8 kHz PCM."""
    at = np.arange(int(RATE * seconds)) / RATE
    sound = np.zeros_like(at)
    for harmonic in range(1, 25):
        hertz = harmonic * pitch_hz
        near = sum(1 / (1 + ((hertz - formant) / 120) ** 2) for formant in (700, 1150, 2500))
        sound += near * np.sin(2 * np.pi * hertz * at + harmonic)
    sound *= 1 + 0.5 * np.sin(2 * np.pi * 4 * at)
    pcm: bytes = (sound / np.abs(sound).max() * 12000).astype("<i2").tobytes()
    return ULaw().decode(ULaw().encode(pcm))


def frames(pcm: bytes) -> list[bytes]:
    """Cut into 20 ms; a rest is left out."""
    return [pcm[at : at + FRAME] for at in range(0, len(pcm) - FRAME + 1, FRAME)]
