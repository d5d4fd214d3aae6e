"""Brings a call's sound down to a rate that a detector knows: cheap, streaming, whole factors only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TAPS_A_PHASE = 8


class Decimator:
    """Keeps each ``factor``-th sample after a low-pass filter (windowed sinc, 2·8·factor + 1 taps)."""

    def __init__(self, factor: int) -> None:
        half = TAPS_A_PHASE * factor
        at = np.arange(-half, half + 1)
        filter_ = np.sinc(at / factor * 0.9) * np.kaiser(2 * half + 1, 6.0)
        self._filter = (filter_ / filter_.sum()).astype(np.float32)
        self._factor = factor
        self._rest: NDArray[np.float32] = np.zeros(2 * half, np.float32)

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The next samples, thinned out. What does not fill a step waits for the next call."""
        line = np.concatenate([self._rest, samples])
        ready = (len(line) - len(self._filter)) // self._factor + 1
        if ready <= 0:
            self._rest = line
            return line[:0]
        windows = np.lib.stride_tricks.sliding_window_view(line, len(self._filter))
        self._rest = line[ready * self._factor :]
        # einsum, not a matrix product: BLAS would wake its threads for it
        thinned: NDArray[np.float32] = np.einsum(
            "nk,k->n", windows[: ready * self._factor : self._factor], self._filter
        )
        return thinned


def decimator_to(rate: int, targets: tuple[int, ...]) -> tuple[int, Decimator | None] | None:
    """The highest of ``targets`` that ``rate`` can be brought down to, and what does it.

    Returns:
        (target, None) when the rate is a target itself; None when no target divides it.
    """
    if rate in targets:
        return rate, None
    for target in sorted(targets, reverse=True):
        if rate > target and rate % target == 0:
            return target, Decimator(rate // target)
    return None
