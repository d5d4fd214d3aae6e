"""Two lanes of sound on one axis: the last seconds in memory, the rest handed on to be written. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LEFT, RIGHT = 0, 1


@dataclass(slots=True, frozen=True)
class Write:
    """Something to be written.

    Attributes:
        at: position in samples.
        pcm: both lanes interleaved, or one lane's samples.
        lane: ``LEFT`` or ``RIGHT`` when ``pcm`` changes that lane of what was written before; None for both.
    """

    at: int
    pcm: bytes
    lane: int | None = None


class Tape:
    """Takes sound of either lane at any position; what nobody puts is silence.

    Args:
        rate: Hz.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._base = 0
        """Position of the first sample in memory; what lies before is on its way to the file."""
        self._pcm: npt.NDArray[np.int16] = np.zeros((rate * 4, 2), np.int16)
        self._mended: list[Write] = []
        self.end = 0
        """Position after the last sample that was put."""

    @property
    def base(self) -> int:
        """Position up to which sound was handed on."""
        return self._base

    def put(self, lane: int, at: int, pcm: bytes) -> None:
        """Put 16-bit samples on a lane from position ``at`` (>= 0) on."""
        samples = np.frombuffer(pcm, "<i2")
        early = self._base - at
        if early > 0:
            self._mended.append(Write(at, samples[:early].tobytes(), lane))
            samples = samples[early:]
            at = self._base
        end = at + len(samples)
        if end - self._base > len(self._pcm):
            self._grow(end - self._base)
        self._pcm[at - self._base : end - self._base, lane] = samples
        self.end = max(self.end, end)

    def erase(self, lane: int, at: int, samples: int) -> None:
        """Make silence of a part of a lane."""
        self.put(lane, at, bytes(samples * 2))

    def hand_on(self, until: int) -> list[Write]:
        """Everything before position ``until``, to be written in this order."""
        writes = self._mended
        self._mended = []
        count = until - self._base
        if count > 0:
            if count > len(self._pcm):
                self._grow(count)
            writes.append(Write(self._base, self._pcm[:count].astype("<i2").tobytes()))
            rest = max(0, self.end - until)
            self._pcm[:rest] = self._pcm[count : count + rest].copy()
            self._pcm[rest : count + rest] = 0
            self._base = until
        return writes

    def _grow(self, samples: int) -> None:
        longer = np.zeros((max(samples, len(self._pcm) * 2), 2), np.int16)
        longer[: len(self._pcm)] = self._pcm
        self._pcm = longer
