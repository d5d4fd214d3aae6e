"""The outline of a recording, for drawing it."""

from __future__ import annotations

import wave
from dataclasses import dataclass
from os import PathLike

import numpy as np

from voxtra.errors import CodecError

_QUIETEST = 1000.0
"""A lane whose peak is below this (of 32768) is drawn small: noise is not blown up to look like speech."""


@dataclass(slots=True)
class Outline:
    """A stereo recording, seen from far.

    Attributes:
        duration_ms: its length.
        peaks: for left and right, the highest sample of each stretch, 0 to 1 of the lane's own highest.
        levels: the same for the root mean square.
    """

    duration_ms: float
    peaks: tuple[list[float], list[float]]
    levels: tuple[list[float], list[float]]


def outline(path: str | PathLike[str], stretches: int) -> Outline:
    """Look at a 16-bit stereo WAV file in ``stretches`` parts. Reads it piece by piece.

    Raises:
        CodecError: it is none, or can't be read.
    """
    try:
        with wave.open(str(path), "rb") as file:
            if file.getnchannels() != 2 or file.getsampwidth() != 2:
                raise CodecError(f"{path} is not a stereo recording with 16-bit samples")
            total, rate = file.getnframes(), file.getframerate()
            bounds = np.linspace(0, total, stretches + 1).astype(int)
            peaks, levels = np.zeros((stretches, 2)), np.zeros((stretches, 2))
            for index in range(stretches):
                part = np.frombuffer(file.readframes(bounds[index + 1] - bounds[index]), "<i2")
                if len(part) >= 2:
                    both = part[: len(part) & ~1].reshape(-1, 2).astype(float)
                    peaks[index] = np.abs(both).max(axis=0)
                    levels[index] = np.sqrt((both**2).mean(axis=0))
    except (OSError, EOFError, wave.Error) as error:
        raise CodecError(f"can't read the recording {path}: {error}") from error
    highest = np.maximum(peaks.max(axis=0, initial=0), _QUIETEST)
    peaks, levels = peaks / highest, levels / highest
    return Outline(
        total * 1000 / rate,
        (peaks[:, 0].tolist(), peaks[:, 1].tolist()),
        (levels[:, 0].tolist(), levels[:, 1].tolist()),
    )


def svg_path(values: list[float], height: float) -> str:
    """A shape mirrored about the middle of ``height``, one unit wide a value."""
    middle = height / 2
    above = [f"{x} {middle - value * (middle - 1):.1f}" for x, value in enumerate(values)]
    below = [f"{x} {middle + value * (middle - 1):.1f}" for x, value in enumerate(values)]
    return "M" + "L".join(above + below[::-1]) + "Z" if values else ""
