"""Wire formats of a line and the PCM they stand for.

Names are Asterisk's: ``ulaw``, ``alaw`` (ITU-T G.711), ``g722`` (ITU-T G.722 at 64 kbit/s), ``slin``,
``slin16`` ... (16-bit signed little-endian at 8 kHz, 16 kHz ...). PCM is 16-bit signed little-endian mono.
A codec with memory (G.722) belongs to one line, so :func:`make_codec` gives a new one each time.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import TypeAlias

from voxtra.errors import CodecError, MissingExtraError
from voxtra.media.line import FRAME_MS

with warnings.catch_warnings():
    # Deprecated in the standard library since 3.11; from 3.13 the audioop-lts package gives the same module.
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

Data: TypeAlias = bytes | bytearray | memoryview

SLIN_RATES: dict[str, int] = {
    "slin": 8000,
    "slin12": 12000,
    "slin16": 16000,
    "slin24": 24000,
    "slin32": 32000,
    "slin44": 44100,
    "slin48": 48000,
}
"""Asterisk's linear formats and their sample rates in Hz."""


class Codec(ABC):
    """How sound is written on the wire.

    Attributes:
        name: Asterisk's format name.
        rate: samples a second of the PCM side, Hz.
        frame_samples: samples of 20 ms.
        frame_bytes: bytes of 20 ms on the wire.
    """

    name: str
    rate: int
    frame_samples: int
    frame_bytes: int

    @abstractmethod
    def encode(self, pcm: Data) -> bytes:
        """PCM to wire bytes; any whole number of samples."""

    @abstractmethod
    def decode(self, data: Data) -> bytes:
        """Wire bytes to PCM."""

    @property
    def pcm_frame_bytes(self) -> int:
        """Bytes of 20 ms of PCM."""
        return self.frame_samples * 2


class ULaw(Codec):
    """G.711 μ-law, 8 kHz, one byte a sample."""

    name = "ulaw"
    rate = 8000
    frame_samples = 160
    frame_bytes = 160

    def encode(self, pcm: Data) -> bytes:
        """PCM to μ-law."""
        return audioop.lin2ulaw(pcm, 2)

    def decode(self, data: Data) -> bytes:
        """μ-law to PCM."""
        return audioop.ulaw2lin(data, 2)


class ALaw(Codec):
    """G.711 A-law, 8 kHz, one byte a sample."""

    name = "alaw"
    rate = 8000
    frame_samples = 160
    frame_bytes = 160

    def encode(self, pcm: Data) -> bytes:
        """PCM to A-law."""
        return audioop.lin2alaw(pcm, 2)

    def decode(self, data: Data) -> bytes:
        """A-law to PCM."""
        return audioop.alaw2lin(data, 2)


class Linear(Codec):
    """16-bit linear PCM, little-endian: Asterisk's ``slin`` family."""

    def __init__(self, rate: int, name: str = "") -> None:
        self.name = name or next((n for n, r in SLIN_RATES.items() if r == rate), f"slin@{rate}")
        self.rate = rate
        self.frame_samples = rate * FRAME_MS // 1000
        self.frame_bytes = self.frame_samples * 2

    def encode(self, pcm: Data) -> bytes:
        """PCM as it is."""
        return bytes(pcm)

    def decode(self, data: Data) -> bytes:
        """PCM as it is. Raises CodecError on half a sample."""
        if len(data) & 1:
            raise CodecError(f"{self.name}: {len(data)} bytes is not a whole number of 16-bit samples")
        return bytes(data)


class L16(Linear):
    """16-bit linear PCM in network byte order, as RTP's ``L16`` carries it (RFC 3551, 4.5.11)."""

    def __init__(self, rate: int) -> None:
        super().__init__(rate, "L16")

    def encode(self, pcm: Data) -> bytes:
        """PCM with its bytes swapped."""
        return audioop.byteswap(pcm, 2)

    def decode(self, data: Data) -> bytes:
        """Network order to PCM. Raises CodecError on half a sample."""
        return audioop.byteswap(super().decode(data), 2)


class G722(Codec):
    """ITU-T G.722 at 64 kbit/s: 16 kHz sound in 8,000 bytes a second. Has memory; one for each line.

    Raises:
        MissingExtraError: the ``G722`` package is not installed.
    """

    name = "g722"
    rate = 16000
    frame_samples = 320
    frame_bytes = 160

    def __init__(self) -> None:
        try:
            import G722 as library  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            raise MissingExtraError("G.722", "g722") from None
        self._encoder = library.G722(self.rate, 64000)
        self._decoder = library.G722(self.rate, 64000)

    def encode(self, pcm: Data) -> bytes:
        """PCM to G.722; an even number of samples."""
        return bytes(self._encoder.encode(memoryview(pcm).cast("B").cast("h")))

    def decode(self, data: Data) -> bytes:
        """G.722 to PCM, two samples a byte."""
        return bytes(memoryview(self._decoder.decode(bytes(data))).cast("B"))


def make_codec(name: str) -> Codec:
    """The codec of one line.

    Args:
        name: ``ulaw, alaw, g722, slin, slin12, slin16, slin24, slin32, slin44, slin48``.

    Raises:
        CodecError: no such format.
        MissingExtraError: its library is not installed.
    """
    if name in SLIN_RATES:
        return Linear(SLIN_RATES[name], name)
    simple: dict[str, type[Codec]] = {"ulaw": ULaw, "alaw": ALaw, "g722": G722}
    try:
        return simple[name]()
    except KeyError:
        known = ", ".join([*simple, *SLIN_RATES])
        raise CodecError(f"unknown audio format {name!r}: use one of {known}") from None


def fade(pcm: bytes, factor: float) -> bytes:
    """PCM with its amplitude multiplied by ``factor``."""
    return audioop.mul(pcm, 2, factor)
