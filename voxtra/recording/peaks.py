"""The outline of a recording, for drawing it."""

from __future__ import annotations

import contextlib
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import PathLike
from typing import Any, TypeAlias

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
    """Look at a 16-bit stereo WAV file in ``stretches`` parts; at FLAC and Ogg Opus where ``voxtra[sounds]`` is there.

    Reads it piece by piece.

    Raises:
        CodecError: it is none, or can't be read.
    """
    try:
        with _opened(path) as (total, rate, read):
            bounds = np.linspace(0, total, stretches + 1).astype(int)
            peaks, levels = np.zeros((stretches, 2)), np.zeros((stretches, 2))
            for index in range(stretches):
                both = read(int(bounds[index + 1] - bounds[index])).astype(float)
                if len(both):
                    peaks[index] = np.abs(both).max(axis=0)
                    levels[index] = np.sqrt((both**2).mean(axis=0))
    except (OSError, EOFError, wave.Error, RuntimeError) as error:
        raise CodecError(f"can't read the recording {path}: {error}") from error
    highest = np.maximum(peaks.max(axis=0, initial=0), _QUIETEST)
    peaks, levels = peaks / highest, levels / highest
    return Outline(
        total * 1000 / rate,
        (peaks[:, 0].tolist(), peaks[:, 1].tolist()),
        (levels[:, 0].tolist(), levels[:, 1].tolist()),
    )


_Read: TypeAlias = Callable[[int], "np.ndarray[Any, Any]"]


@contextlib.contextmanager
def _opened(path: str | PathLike[str]) -> Iterator[tuple[int, int, _Read]]:
    """Frames, rate, and what reads frames, two samples each."""
    if str(path).endswith((".flac", ".opus", ".ogg")):
        try:
            import soundfile
        except ImportError:
            raise CodecError(f"can't read the recording {path}: voxtra[sounds] is not installed") from None
        with soundfile.SoundFile(str(path)) as sound:
            _check_stereo(path, sound.channels, 2)
            yield (
                sound.frames,
                sound.samplerate,
                lambda frames: sound.read(frames, dtype="int16", always_2d=True),
            )
        return
    with wave.open(str(path), "rb") as file:
        _check_stereo(path, file.getnchannels(), file.getsampwidth())

        def read(frames: int) -> np.ndarray[Any, Any]:
            part = np.frombuffer(file.readframes(frames), "<i2")
            return part[: len(part) & ~1].reshape(-1, 2)

        yield file.getnframes(), file.getframerate(), read


def _check_stereo(path: str | PathLike[str], channels: int, width: int) -> None:
    if channels != 2 or width != 2:
        raise CodecError(f"{path} is not a stereo recording with 16-bit samples")


def svg_path(values: list[float], height: float) -> str:
    """A shape mirrored about the middle of ``height``, one unit wide a value."""
    middle = height / 2
    above = [f"{x} {middle - value * (middle - 1):.1f}" for x, value in enumerate(values)]
    below = [f"{x} {middle + value * (middle - 1):.1f}" for x, value in enumerate(values)]
    return "M" + "L".join(above + below[::-1]) + "Z" if values else ""
