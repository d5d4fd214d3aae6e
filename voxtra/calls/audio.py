"""A call's raw sound as handlers see it: chunks in one codec, out of and into its line."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from voxtra.calls.leg import first_of
from voxtra.errors import CallEndedError, CodecError, LineClosedError
from voxtra.events import AudioFrameEvent, EventType
from voxtra.media.codecs import Codec, make_codec
from voxtra.media.line import FRAME_MS, Frame, Line
from voxtra.media.resample import Resampler
from voxtra.types import AudioChunk, AudioCodec

MAX_CHUNKS = 250
"""Chunks (5 s) that wait for a slow consumer; the oldest go first, and ``sequence`` shows the gap."""
DRAIN_GRACE_S = 1.0
"""How much longer than its length queued sound may take to be heard."""


class AudioTap:
    """The line's sound as an async iterator of chunks; ends with the line.

    Args:
        line: whose sound.
        codec: ``ulaw`` or ``alaw`` at 8 kHz, or ``pcm_s16le`` at the line's rate.

    Raises:
        CodecError: another codec.
    """

    def __init__(self, line: Line, codec: AudioCodec) -> None:
        self._line = line
        self._codec = codec
        self._encode: Codec | None = None
        self._resampler: Resampler | None = None
        if codec in (AudioCodec.ULAW, AudioCodec.ALAW):
            self._encode = make_codec(str(codec))
            if line.rate != self._encode.rate:
                self._resampler = Resampler(line.rate, self._encode.rate)
        elif codec is not AudioCodec.PCM_S16LE:
            raise CodecError(f"audio_stream({codec!s}): ulaw, alaw or pcm_s16le")
        self._chunks: deque[AudioChunk] = deque(maxlen=MAX_CHUNKS)
        self._wake = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._off = self._line.listen(self._frame)
        self._line.closed.add_done_callback(self._closed)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._off()
        self._line.closed.remove_done_callback(self._closed)

    def _closed(self, _: object) -> None:
        self._wake.set()

    def _frame(self, frame: Frame) -> None:
        pcm = frame.pcm if self._resampler is None else self._resampler.process(frame.pcm)
        rate = self._line.rate if self._encode is None else self._encode.rate
        data = pcm if self._encode is None else self._encode.encode(pcm)
        self._chunks.append(
            AudioChunk(
                data,
                sample_rate=rate,
                codec=self._codec,
                timestamp_ms=frame.sequence * FRAME_MS,
                sequence=frame.sequence,
            )
        )
        self._wake.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AudioChunk:
        while not self._chunks:
            if self._line.closed.done():
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._chunks.popleft()


class AudioOut:
    """Chunks of any codec and rate, into one line."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self._codecs: dict[AudioCodec, Codec] = {}
        self._resamplers: dict[int, Resampler] = {}

    def play(self, chunk: AudioChunk) -> None:
        """Queue a chunk.

        Raises:
            CodecError: it is of a kind that can't be played.
            CallEndedError: the line is closed.
            MediaError: ten minutes are queued already.
        """
        pcm, rate = self._decode(chunk)
        if rate != self.line.rate:
            if rate not in self._resamplers:
                self._resamplers[rate] = Resampler(rate, self.line.rate)
            pcm = self._resamplers[rate].process(pcm)
        try:
            self.line.play(pcm)
        except LineClosedError as error:
            raise CallEndedError(f"the call's line is closed: {error}") from error

    def _decode(self, chunk: AudioChunk) -> tuple[bytes, int]:
        data: object = chunk.data
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise CodecError(f"a chunk's data are bytes, not {type(data).__name__}")
        rate: object = chunk.sample_rate
        if not isinstance(rate, int) or not 8000 <= rate <= 192_000:
            raise CodecError(f"a chunk of sample_rate={rate!r}: send 8000 to 192000 Hz")
        if chunk.channels != 1:
            raise CodecError(f"a chunk of {chunk.channels} channels: telephones have 1")
        if chunk.codec == AudioCodec.PCM_S16LE:
            if len(chunk.data) % 2:
                raise CodecError(f"{len(chunk.data)} bytes is no whole number of 16-bit samples")
            return chunk.data, chunk.sample_rate
        if chunk.codec not in (AudioCodec.ULAW, AudioCodec.ALAW):
            raise CodecError(f"send_audio can't play {chunk.codec!s}: send ulaw, alaw or pcm_s16le")
        codec = self._codecs.get(chunk.codec)
        if codec is None:
            codec = self._codecs[chunk.codec] = make_codec(str(chunk.codec))
        return codec.decode(chunk.data), chunk.sample_rate

    async def drained(self, ended: asyncio.Future[Any]) -> None:
        """Wait until what was queued is heard, or ``ended``; never longer than that takes."""
        waiting = self.line.ms(self.line.queued - self.line.heard) / 1000 + DRAIN_GRACE_S
        heard = asyncio.ensure_future(self.line.drained())
        try:
            await first_of(heard, ended, timeout=waiting)
        finally:
            heard.cancel()


class FrameEvents:
    """Tells every piece of sound of a line, in and out, to ``tell``: for listeners that asked for it."""

    def __init__(self, line: Line, tell: Callable[[AudioFrameEvent], None]) -> None:
        self._line = line
        self._tell = tell
        self._sent = 0
        line.listen(self._received)
        line.observe(self)

    def _received(self, frame: Frame) -> None:
        self._event(EventType.AUDIO_FRAME_RECEIVED, frame.pcm, frame.sequence, frame.sequence * FRAME_MS)

    def played(self, pcm: bytes) -> None:
        """Sound was queued to the far end."""
        self._event(EventType.AUDIO_FRAME_SENT, pcm, self._sent, self._line.ms(self._line.queued))
        self._sent += 1

    def paused(self) -> None:
        """Of no concern here."""

    def resumed(self) -> None:
        """Of no concern here."""

    def flushed(self, heard: int) -> None:
        """Of no concern here."""

    def _event(self, kind: EventType, pcm: bytes, sequence: int, at_ms: int) -> None:
        chunk = AudioChunk(
            pcm,
            sample_rate=self._line.rate,
            codec=AudioCodec.PCM_S16LE,
            timestamp_ms=at_ms,
            duration_ms=self._line.ms(len(pcm) // 2),
            sequence=sequence,
        )
        self._tell(AudioFrameEvent(type=kind, chunk=chunk))
