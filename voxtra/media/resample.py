"""Streaming sample rate conversion for live sound: a polyphase FIR in numpy.

The filter (Kaiser window, linear phase) spans 72 samples of the lower rate: 4.5 ms of delay at 8 kHz,
2.25 ms at 16 kHz. Everything at and above half the lower rate is 65 dB down or more, tones up to 0.44 of
it (3.5 kHz at 8 kHz) pass.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from voxtra.errors import CodecError

Floats: TypeAlias = NDArray[np.float32]
Indices: TypeAlias = NDArray[np.intp]

SPAN = 72
"""Length of the filter in samples of the lower rate."""
_STOPBAND_DB = 70.0
_PLANS = 64
"""Block layouts kept per pair of rates."""


@lru_cache(maxsize=32)
def _phases(up: int, down: int) -> Floats:
    """The filter's phases: row p holds the taps for output that falls p/up between two input samples.

    Taps are in the order of the window (oldest sample first).
    """
    wide = max(up, down)
    taps = math.ceil(SPAN * wide / up)
    length = taps * up
    beta = 0.1102 * (_STOPBAND_DB - 8.7)
    # Frequencies in cycles a sample of the rate in between (input rate · up).
    transition = (_STOPBAND_DB - 8) / (2.285 * 2 * math.pi * SPAN * wide)
    cutoff = 0.5 / wide - transition / 2
    # The length is odd in truth (one tap of the rectangle below is zero), so the delay is whole samples.
    middle = SPAN * wide // 2
    at = np.arange(length) - middle
    window = np.where(
        np.abs(at) <= middle,
        np.i0(beta * np.sqrt(np.clip(1 - (at / middle) ** 2, 0, 1))) / np.i0(beta),
        0,
    )
    prototype = 2 * cutoff * np.sinc(2 * cutoff * at) * window * up
    rows = prototype.reshape(taps, up).T
    return np.ascontiguousarray(rows[:, ::-1], dtype=np.float32)


@lru_cache(maxsize=_PLANS)
def _plan(up: int, down: int, size: int, offset: int) -> tuple[Indices, Floats, int]:
    """For a block of ``size`` samples whose first output falls ``offset``/up after its first sample:
    the window of each output, its taps, and the offset of the next block."""
    count = max(0, -(-(size * up - offset) // down))
    at = offset + down * np.arange(count)
    rows: Indices = (at // up).astype(np.intp)
    following = offset + down * count - size * up
    return rows, _phases(up, down)[at % up], following


class Resampler:
    """Converts one stream of 16-bit mono PCM. Keeps state; one for each stream and direction.

    Args:
        source: Hz of what goes in.
        target: Hz of what comes out.

    Raises:
        CodecError: a rate that is no rate of 8,000 to 192,000 Hz.
    """

    def __init__(self, source: int, target: int) -> None:
        for rate in (source, target):
            if not 8000 <= rate <= 192_000:
                raise CodecError(f"can't convert from {source} to {target} Hz: rates go from 8000 to 192000")
        common = math.gcd(source, target)
        self.source = source
        self.target = target
        self._up = target // common
        self._down = source // common
        self._offset = 0
        self._buffers: dict[int, tuple[Floats, Floats]] = {}
        self._history = np.zeros(0, dtype=np.float32)
        if source != target:
            self._phases = _phases(self._up, self._down)
            self._history = np.zeros(self._phases.shape[1] - 1, dtype=np.float32)

    @property
    def delay_ms(self) -> float:
        """By how much the output lags the input, ms."""
        if self.source == self.target:
            return 0.0
        return SPAN / 2 * 1000 / min(self.source, self.target)

    def process(self, pcm: bytes) -> bytes:
        """The next samples; gives what they complete, about ``target/source`` as many.

        Raises:
            CodecError: half a sample.
        """
        if len(pcm) & 1:
            raise CodecError(f"{len(pcm)} bytes is not a whole number of 16-bit samples")
        if self.source == self.target or not pcm:
            return pcm
        most = self.source // 10 * 2
        if len(pcm) <= most:
            return self._process(pcm)
        # In pieces of 100 ms: the windows of a long block would take its size a hundred times over.
        return b"".join(self._process(pcm[at : at + most]) for at in range(0, len(pcm), most))

    def _process(self, pcm: bytes) -> bytes:
        block, windows = self._block(len(pcm) >> 1)
        kept = len(self._history)
        block[:kept] = self._history
        block[kept:] = np.frombuffer(pcm, dtype="<i2")
        out = self._filter(windows)
        self._history[:] = block[len(block) - kept :]
        np.rint(out, out)
        np.clip(out, -32768, 32767, out)
        return out.astype("<i2").tobytes()

    def _block(self, size: int) -> tuple[Floats, Floats]:
        """A work buffer for ``size`` new samples, and its sliding windows; kept for sizes in use."""
        found = self._buffers.get(size)
        if found is None:
            kept = len(self._history)
            block = np.zeros(kept + size, dtype=np.float32)
            found = block, np.lib.stride_tricks.sliding_window_view(block, kept + 1)
            if len(self._buffers) >= 4:
                self._buffers.pop(next(iter(self._buffers)))
            self._buffers[size] = found
        return found

    def _filter(self, windows: Floats) -> Floats:
        if self._down == 1:
            out: Floats = windows @ self._phases.T
            return out.reshape(-1)
        if self._up == 1:
            size = len(windows)
            offset = self._offset
            self._offset = (offset - size) % self._down
            every: Floats = windows[offset :: self._down] @ self._phases[0]
            return every
        rows, taps, self._offset = _plan(self._up, self._down, len(windows), self._offset)
        picked: Floats = np.einsum("ij,ij->i", windows[rows], taps)
        return picked

    def flush(self) -> bytes:
        """The end of the stream: what the filter still holds. Afterwards a new stream may begin."""
        if self.source == self.target:
            return b""
        tail = self.process(bytes(2 * math.ceil(SPAN / 2 * self.source / min(self.source, self.target))))
        self._history[:] = 0
        self._offset = 0
        return tail


def resample(pcm: bytes, source: int, target: int) -> bytes:
    """A whole piece of sound at another rate, with the delay taken off and the length kept in proportion."""
    if source == target:
        return pcm
    converter = Resampler(source, target)
    out = converter.process(pcm) + converter.flush()
    skip = round(converter.delay_ms * target / 1000) * 2
    return out[skip : skip + (len(pcm) // 2 * target // source) * 2]
