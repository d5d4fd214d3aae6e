"""What Whisper hears: log-mel features of 16 kHz sound, computed with numpy.

80 mel bands (Slaney's scale and normalisation), window 25 ms, hop 10 ms, as in the model's paper
("Robust Speech Recognition via Large-Scale Weak Supervision", section 2.2).
"""

from __future__ import annotations

import functools
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Samples: TypeAlias = NDArray[np.float32]

RATE = 16000
"""Hz the model listens at."""
HOP = 160
WINDOW = 400
BANDS = 80
FRAMES_A_SECOND = RATE // HOP


def mel_frequency(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Hz → mel on Slaney's scale: linear up to 1 kHz, logarithmic above."""
    log = 15.0 + np.log(np.maximum(hz, 1e-9) / 1000.0) * 27.0 / np.log(6.4)
    return np.where(hz >= 1000.0, log, hz * 3.0 / 200.0)


def hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mel → Hz, the inverse of :func:`mel_frequency`."""
    return np.where(mel >= 15.0, 1000.0 * np.exp((mel - 15.0) * np.log(6.4) / 27.0), mel * 200.0 / 3.0)


@functools.cache
def mel_filters() -> Samples:
    """Weights from spectrum to mel bands, shape (80, 201): triangles of equal area."""
    top = mel_frequency(np.array([RATE / 2]))[0]
    edges = hertz(np.linspace(0.0, top, BANDS + 2))
    bins = np.linspace(0.0, RATE / 2, WINDOW // 2 + 1)
    slopes = edges[:, None] - bins[None, :]
    widths = np.diff(edges)
    rising = -slopes[:-2] / widths[:-1, None]
    falling = slopes[2:] / widths[1:, None]
    weights = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return weights.astype(np.float32)


@functools.cache
def _triangles() -> list[tuple[int, int, Samples]]:
    """Of each band: first bin, last bin + 1, and the weights between."""
    found = []
    for row in mel_filters():
        bins = np.flatnonzero(row)
        begin, end = (int(bins[0]), int(bins[-1]) + 1) if len(bins) else (0, 1)
        found.append((begin, end, row[begin:end].copy()))
    return found


@functools.cache
def _hann() -> Samples:
    return np.hanning(WINDOW + 1)[:-1].astype(np.float32)


def log_mel(samples: Samples, frames: int) -> Samples:
    """Features of ``samples``, padded with silence or cut to ``frames`` frames of 10 ms.

    Args:
        samples: 16 kHz, -1..1.
        frames: how many frames the result has.

    Returns:
        float32, shape (1, 80, frames).
    """
    # frames that lie wholly in the padding hold nothing: compute up to the last one that holds sound
    real = min(frames, len(samples) // HOP + 3)
    body = np.zeros(real * HOP + WINDOW, np.float32)
    used = min(len(samples), real * HOP + WINDOW // 2)
    body[WINDOW // 2 : WINDOW // 2 + used] = samples[:used]
    if used > WINDOW // 2:
        body[: WINDOW // 2] = samples[WINDOW // 2 : 0 : -1]  # reflected, as in training
    windows = np.lib.stride_tricks.sliding_window_view(body, WINDOW)[: real * HOP : HOP]
    power = np.ascontiguousarray((np.abs(np.fft.rfft(windows * _hann(), axis=1)) ** 2).T, np.float32)
    # band by band, without BLAS: after a matrix product its threads spin on and cost as much as the model
    bands = np.empty((BANDS, real), np.float32)
    for band, (begin, end, weights) in enumerate(_triangles()):
        np.einsum("k,kn->n", weights, power[begin:end], out=bands[band])
    bands = np.log10(np.maximum(bands, 1e-10))
    floor = max(float(bands.max()) - 8.0, -10.0)
    result = np.full((1, BANDS, frames), (floor + 4.0) / 4.0, np.float32)
    result[0, :, :real] = (np.maximum(bands, floor) + 4.0) / 4.0
    return result


def to_float(pcm: bytes) -> Samples:
    """16-bit PCM → float32 in -1..1."""
    return np.frombuffer(pcm, "<i2").astype(np.float32) / 32768.0


def resample_whole(samples: Samples, rate: int, to: int = RATE) -> Samples:
    """A whole utterance at another rate, by way of its spectrum.

    For sound that is all there; the live path has a streaming resampler.
    """
    if rate == to or not len(samples):
        return samples
    # whole hundredths of a second make both lengths exact for every rate that is a multiple of 100;
    # two extra ones of silence keep the end from leaking into the beginning
    blocks = -(-len(samples) * 100 // rate) + 2
    source, target = blocks * rate // 100, blocks * to // 100
    spectrum = np.fft.rfft(samples, source)[: min(source, target) // 2 + 1]
    full = np.zeros(target // 2 + 1, spectrum.dtype)
    full[: len(spectrum)] = spectrum
    result = np.fft.irfft(full, target) * (target / source)
    return result[: len(samples) * to // rate].astype(np.float32)


def loudness_dbfs(samples: Samples, *, window: int = RATE // 5) -> float:
    """Level of the loudest ``window`` samples in dB below full scale; -120 for digital silence."""
    if not len(samples):
        return -120.0
    power = np.square(samples, dtype=np.float32)
    whole = len(power) // window * window
    blocks = power[:whole].reshape(-1, window).mean(axis=1) if whole else power.mean(keepdims=True)
    return float(10.0 * np.log10(max(float(blocks.max()), 1e-12)))
