"""Opus, raw packets (RFC 6716) of 16-bit mono PCM. Needs the extra ``opus``."""

from __future__ import annotations

from typing import Any

from voxtra.errors import CodecError, MissingExtraError

RATES = (8000, 12000, 16000, 24000, 48000)
FRAME_MS = (5, 10, 20, 40, 60)
_MAX_PACKET_MS = 120
_MAX_PACKET_BYTES = 7_664  # 6 frames of 1,275 B and their table (RFC 6716, 3.2.5)


def _library() -> Any:
    try:
        import opuslib_next
    except (ImportError, OSError):
        raise MissingExtraError("Opus", "opus") from None
    return opuslib_next


def _check_rate(rate: int) -> None:
    if rate not in RATES:
        raise CodecError(f"Opus has no {rate} Hz: use one of {', '.join(map(str, RATES))}")


class OpusEncoder:
    """PCM to Opus packets; belongs to one stream.

    Args:
        rate: Hz of the PCM, one of ``RATES``.
        bitrate: bits a second; 0 leaves the choice to Opus.

    Raises:
        MissingExtraError: Opus is not installed.
        CodecError: no such rate or bit rate.
    """

    def __init__(self, rate: int = 48000, *, bitrate: int = 24_000) -> None:
        library = _library()
        _check_rate(rate)
        if bitrate and not 6000 <= bitrate <= 510_000:
            raise CodecError(f"Opus has no {bitrate} bit/s: it goes from 6000 to 510000")
        self.rate = rate
        self._error = library.OpusError
        self._encoder = library.Encoder(rate, 1, "voip")
        if bitrate:
            self._encoder.bitrate = bitrate

    def encode(self, pcm: bytes) -> bytes:
        """One packet of 5, 10, 20, 40 or 60 ms. Raises CodecError for another length."""
        samples = len(pcm) // 2
        if len(pcm) & 1 or samples * 1000 / self.rate not in FRAME_MS:
            raise CodecError(
                f"an Opus packet holds 5, 10, 20, 40 or 60 ms, not {len(pcm)} B at {self.rate} Hz"
            )
        try:
            return bytes(self._encoder.encode(pcm, samples))
        except self._error as error:
            raise CodecError(f"Opus could not encode: {error}") from error


class OpusDecoder:
    """Opus packets to PCM; belongs to one stream.

    Args:
        rate: Hz of the PCM wanted, one of ``RATES``, whatever it was encoded from.

    Raises:
        MissingExtraError: Opus is not installed.
        CodecError: no such rate.
    """

    def __init__(self, rate: int = 48000) -> None:
        library = _library()
        _check_rate(rate)
        self.rate = rate
        self._error = library.OpusError
        self._decoder = library.Decoder(rate, 1)

    def decode(self, packet: bytes) -> bytes:
        """PCM of one packet. Raises CodecError when it is none."""
        if not 0 < len(packet) <= _MAX_PACKET_BYTES:
            raise CodecError(f"{len(packet)} B is no Opus packet")
        return self._run(packet, _MAX_PACKET_MS)

    def conceal(self, ms: int = 20) -> bytes:
        """PCM in place of a lost packet of ``ms``."""
        if ms not in FRAME_MS:
            raise CodecError(f"Opus can stand in for 5, 10, 20, 40 or 60 ms, not {ms}")
        return self._run(b"", ms)

    def _run(self, packet: bytes, ms: int) -> bytes:
        try:
            return bytes(self._decoder.decode(packet, self.rate * ms // 1000))
        except self._error as error:
            raise CodecError(f"this is no Opus packet: {error}") from error
