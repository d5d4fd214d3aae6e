"""Frames of a track and the PCM they stand for: cutting to the track's frame length, and transcoding. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from voxtra.errors import CodecError
from voxtra.media.codecs import Codec, make_codec
from voxtra.media.opus import RATES as OPUS_RATES
from voxtra.media.opus import OpusDecoder, OpusEncoder
from voxtra.media.resample import Resampler
from voxtra.wire import AudioFormat, SoundFrame

_LAWS = {"g711_ulaw": "ulaw", "g711_alaw": "alaw"}
OPUS_BITRATES = {8000: 12_000, 16000: 20_000, 24000: 24_000, 48000: 24_000}
"""Bit/s of Opus by the track's rate, Hz: a telephone's voice has no more to it."""


class FrameEncoder:
    """PCM of any rate and length to frames of one format; belongs to one stream.

    Args:
        form: what a frame is.
        rate: Hz of the PCM.

    Raises:
        MissingExtraError: the codec's library is not installed.
    """

    def __init__(self, form: AudioFormat, rate: int) -> None:
        self.form = form
        self.rate = rate
        self._resampler = None if rate == form.sample_rate else Resampler(rate, form.sample_rate)
        self._encode = _encoder(form)
        self._size = form.samples * 2
        self._us = form.frame_ms * 1000
        self._pcm = bytearray()
        self._frame_us = 0
        self._next_us: int | None = None

    def push(self, pcm: bytes, at_us: int) -> list[SoundFrame]:
        """The frames that ``pcm`` completes.

        Args:
            pcm: 16-bit mono samples at ``rate``.
            at_us: media time of its first sample. A gap, or a step back, begins a new frame; what was begun
                before it is dropped.
        """
        if at_us != self._next_us:
            self._pcm.clear()
            self._frame_us = at_us
        self._next_us = at_us + len(pcm) // 2 * 1_000_000 // self.rate
        self._pcm += pcm if self._resampler is None else self._resampler.process(pcm)
        frames = []
        while len(self._pcm) >= self._size:
            payload = self._encode(bytes(self._pcm[: self._size]))
            del self._pcm[: self._size]
            frames.append(SoundFrame(self._frame_us, payload))
            self._frame_us += self._us
        return frames


class FrameDecoder:
    """Frames of one format to PCM at one rate; belongs to one stream.

    Args:
        form: what a frame is.
        rate: Hz of the PCM wanted.

    Raises:
        MissingExtraError: the codec's library is not installed.
    """

    def __init__(self, form: AudioFormat, rate: int) -> None:
        self.form = form
        self.rate = rate
        source: int = form.sample_rate
        if form.codec == "opus":
            source = rate if rate in OPUS_RATES else 48000  # Opus decodes to any of its rates by itself
        self._decode = _decoder(form, source)
        self._resampler = None if source == rate else Resampler(source, rate)

    def decode(self, payload: bytes) -> bytes:
        """PCM of one frame, of the length it has. Raises CodecError when it is none."""
        pcm = self._decode(payload)
        return pcm if self._resampler is None else self._resampler.process(pcm)


def _encoder(form: AudioFormat) -> Callable[[bytes], bytes]:
    if form.codec == "opus":
        return OpusEncoder(form.sample_rate, bitrate=OPUS_BITRATES[form.sample_rate]).encode
    return _plain(form).encode


def _decoder(form: AudioFormat, rate: int) -> Callable[[bytes], bytes]:
    if form.codec == "opus":
        return OpusDecoder(rate).decode
    return partial(_checked, _plain(form))


def _plain(form: AudioFormat) -> Codec:
    if form.codec == "pcm16":
        return make_codec({8000: "slin", 16000: "slin16", 24000: "slin24", 48000: "slin48"}[form.sample_rate])
    return make_codec(_LAWS[form.codec])


def _checked(codec: Codec, payload: bytes) -> bytes:
    if not payload:
        raise CodecError("a frame without sound")
    return codec.decode(payload)
